"""A classifier that Keras saved, as a subject: the question's own model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seedsweep.backbones.keras_file import KerasClassifier, read_keras_classifier
from seedsweep.backbones.keras_head import POOLING, head_of, is_ours
from seedsweep.config.location import cache_of
from seedsweep.config.schema import Config
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.diagnosis.given import check_checkpoint
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import build_trunk
from seedsweep.models.classifier import Classifier
from seedsweep.training.assemble import build_module

log = logging.getLogger(__name__)

MOST = 2  # dense layers of a head of ours


def of_keras(path: Path, config: Config, limit: int = 1000) -> Subject:
    """Opens a ``.h5`` or ``.keras`` file that holds InceptionV3 or VGG16, average pooling and one or two Dense layers.

    Pooling and activations are checked where the file holds the architecture; ``.weights.h5`` files do not.

    Args:
        path: the file.
        config: how the model was trained: ``preprocess``, ``batchnorm``, ``data.image_size`` and the images; the
            file itself gives backbone and head.
        limit: training images, and validation images, that are looked at.

    Raises:
        SeedsweepError: unreadable, another net, another head, or another number of classes.
    """
    check_checkpoint(path)
    read = read_keras_classifier(path)
    if len(read.dense) > MOST:
        raise SeedsweepError(
            f"{path} has {len(read.dense)} Dense layers, and a head here has {MOST} at most: give its backbone with "
            f"backbone.weights={path}, and train a head."
        )
    _check_head(path, read)
    prepared = prepare_images(config.data, cache_of(config))
    n_classes = len(prepared.table.classes)
    if read.sizes[-1] != n_classes:
        raise SeedsweepError(
            f"{path} tells {read.sizes[-1]} classes apart, and the images have {n_classes}: give the data.root that it "
            "was trained on."
        )
    config.backbone = replace(config.backbone, weights=str(path))
    config.head = replace(config.head, width=read.sizes[1] if len(read.dense) == MOST else 0)
    net = _build(path, config, prepared, read.sizes[0])
    layers = [layer for layer in net.head.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, read.dense, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return Subject("checkpoint", config, prepared, net, net, limit=limit, given_manifest=config.data.manifest)


def _check_head(path: Path, read: KerasClassifier) -> None:
    """Refuses a head that ours can't compute; of a file of weights alone the log says what it is taken for."""
    head = head_of(path)
    instead = f"give its backbone with backbone.weights={path}, and train a head"
    if read.sizes[-1] == 1:
        raise SeedsweepError(
            f"{path} ends in a single unit ({head[-1] if head else 'Dense(1)'}), and a head here has a unit for each "
            f"class, with softmax: {instead}."
        )
    if head is None:
        log.info(
            "%s holds weights alone: taken for %s, %sDense(%d, softmax)",
            path, POOLING, f"Dense({read.sizes[1]}, relu), " if len(read.dense) == MOST else "", read.sizes[-1],
        )  # fmt: skip
    elif not is_ours(head):
        raise SeedsweepError(
            f"{path} has the head {', '.join(map(str, head))}, and here it can only be {POOLING}, Dense with relu (or "
            f"without this one), Dense with softmax: {instead}."
        )


def _build(path: Path, config: Config, prepared: PreparedImages, wanted: int) -> Classifier:
    trunk = build_trunk(config)
    if trunk.backbone.num_features != wanted:
        raise SeedsweepError(
            f"{path}: its first Dense layer reads {wanted} numbers, and {trunk.origin.name} gives "
            f"{trunk.backbone.num_features} after average pooling (a Flatten layer is not understood): give its "
            f"backbone with backbone.weights={path}, and train a head."
        )
    _, built = build_module(config, prepared, trunk)
    return built.classifier.eval()
