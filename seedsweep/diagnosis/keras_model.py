"""A classifier that Keras saved, as a subject: the question's own model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seedsweep.data.prepare import prepare_images
from seedsweep.diagnosis.options import check_checkpoint
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import ArmBackbone
from seedsweep.models.keras_file import POOLING, KerasClassifier, dense_of, head_of, is_ours, read_keras
from seedsweep.training.assemble import backbone_as_set, build_module
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)

MOST = 2  # dense layers of a head of ours


def of_keras(path: Path, config: ArmSettings, limit: int = 1000) -> Subject:
    """Opens a ``.h5`` or ``.keras`` file that holds InceptionV3 or VGG16, average pooling and one or two Dense layers.

    Pooling and activations are checked where the file holds the architecture; ``.weights.h5`` files do not.

    Args:
        config: how the model was trained: ``preprocess``, ``batchnorm``, ``data.image_size`` and the images; the
            file itself gives backbone and head.

    Raises:
        SeedsweepError: unreadable, another net, another head, or another number of classes.
    """
    check_checkpoint(path)
    file = read_keras(path)
    config.backbone = replace(config.backbone, weights=str(path))
    backbone = backbone_as_set(config)  # first, so that what is advised below was tried
    advice = f"train a new head on its backbone with backbone={backbone.name} backbone.weights={path}"
    read = dense_of(file)
    if read is None:
        raise SeedsweepError(
            f"{path} has no Dense layers that follow one another, so it is no whole classifier: {advice}."
        )
    _check_head(path, read, backbone, advice)
    prepared = prepare_images(config.data, config.cache_dir)
    n_classes = len(prepared.table.classes)
    if read.sizes[-1] != n_classes:
        raise SeedsweepError(
            f"{path} tells {read.sizes[-1]} classes apart, and the images have {n_classes}: give the data.root that it "
            "was trained on."
        )
    config.head = replace(config.head, width=read.sizes[1] if len(read.dense) == MOST else 0)
    _, built = build_module(config, prepared, backbone)
    net = built.classifier.eval()
    layers = [layer for layer in net.head.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, read.dense, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return Subject("checkpoint", config, prepared, net, net, limit=limit, given_manifest=config.data.manifest)


def _check_head(path: Path, read: KerasClassifier, backbone: ArmBackbone, advice: str) -> None:
    """Refuses a head that ours can't compute; of a file of weights alone the log says what it is taken for."""
    head, features = head_of(path), backbone.net.num_features
    why = None
    if len(read.dense) > MOST:
        why = f" has {len(read.dense)} Dense layers, and a head here has {MOST} at most"
    elif read.sizes[-1] == 1:
        last = head[-1] if head else "Dense(1)"
        why = f" ends in a single unit ({last}), and a head here has a unit for each class, with softmax"
    elif head is not None and not is_ours(head):
        allowed = f"{POOLING}, Dense with relu (or without this one), Dense with softmax"
        why = f" has the head {', '.join(map(str, head))}, and here it can only be {allowed}"
    elif further := _further(read, backbone.net):
        why = f" has {further} beside its backbone and its Dense layers, which a head here can't have"
    elif read.sizes[0] != features:
        why = (
            f": its first Dense layer reads {read.sizes[0]} numbers, and {backbone.name} gives {features} "
            "after average pooling (a Flatten layer is not understood)"
        )
    if why:
        raise SeedsweepError(f"{path}{why}: {advice}.")
    if head is None:
        log.info(
            "%s holds weights alone: taken for %s, %sDense(%d, softmax)",
            path, POOLING, f"Dense({read.sizes[1]}, relu), " if len(read.dense) == MOST else "", read.sizes[-1],
        )  # fmt: skip


def _further(read: KerasClassifier, backbone: nn.Module) -> str:
    """Returns what layers with weights a file has that are neither the backbone's nor Dense; empty: none."""
    kinds = {"conv": ("convolution", nn.Conv2d), "norm": ("BatchNormalization", nn.BatchNorm2d)}
    found = []
    for kind, (called, layer) in kinds.items():
        more = len(read.file.of(kind)) - sum(isinstance(module, layer) for module in backbone.modules())
        found += [f"{more} x {called}"] if more > 0 else []
    others = len(read.file.of("other")) + len(read.file.of("dense")) - len(read.dense)
    return ", ".join(found + ([f"{others} other layers with weights"] if others else []))
