"""What a net that was built really does, read off its layers and not off the settings; and its checkpoint's card."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

import seedsweep
from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import follows_stored, norm_layers
from seedsweep.models.build import BuiltModel
from seedsweep.models.called import augment_called, batchnorm_called, preprocess_called
from seedsweep.models.classifier import Head
from seedsweep.models.input_scaling import Preprocess
from seedsweep.models.options import PreprocessConfig
from seedsweep.runs.switches import (
    BATCH,
    NONE,
    STORED,
    BackboneSwitches,
    BatchNormSwitches,
    OptimSwitches,
    PreprocessSwitches,
    Switches,
    TrainerSwitches,
)
from seedsweep.training.options import ArmSettings

# of a layer before a cut: statistics don't move, scale and shift are not trained
HELD = (STORED, False, False)


def effective(config: ArmSettings, built: BuiltModel) -> Switches:
    """Returns what a run does."""
    backbone, head = built.classifier.backbone, built.classifier.head
    assert isinstance(head, Head)
    optim, trainer = config.optim, config.trainer
    return Switches(
        batchnorm=batchnorm_of(backbone, recalibrated=config.batchnorm.recalibrate),
        preprocess=_preprocess_of(built.classifier.preprocess),
        augment=replace(config.augment, name=augment_called(config.augment)),
        backbone=_backbone_of(built, config.backbone.library),
        head=replace(config.head, width=head.hidden.out_features if head.hidden else 0, dropout=head.dropout),
        optim=OptimSwitches.of(asdict(optim)),
        trainer=TrainerSwitches(
            trainer.max_epochs,
            trainer.patience,
            config.data.batch_size,
            trainer.precision,
            trainer.accelerator,
            trainer.channels_last,
            trainer.head_epochs,
            trainer.ema,
        ),
    )


def name_by_values(config: ArmSettings) -> None:
    """Gives the three sections of ``config`` the names that their values have; changed in place."""
    config.augment.name = augment_called(config.augment)
    config.batchnorm.name = batchnorm_called(config.batchnorm)
    config.preprocess.name = preprocess_called(config.preprocess)


def card_of(
    config: ArmSettings, built: BuiltModel, classes: list[str], values: dict[str, list[float]]
) -> dict[str, Any]:
    """Returns what a checkpoint holds beside its weights, so that the file alone can be moved and used.

    It holds plain numbers, strings, lists and dicts, which torch reads without running code.

    Args:
        built: the net, for what ``backbone=auto`` turned out to be.
        classes: names, in the order of the logits.
        values: of images of more than 8 bits, the lowest and the highest, which became 0 and 255, by kind.
    """
    return {
        "version": seedsweep.__version__,
        "classes": list(classes),
        "image_size": list(config.data.image_size),
        "values": values,
        "preprocess": asdict(config.preprocess) | {"name": preprocess_called(config.preprocess)},
        "backbone": {
            "name": built.backbone.name,
            "library": config.backbone.library,
            "keras": built.backbone.weights.keras,
            "weights": built.backbone.weights.note or built.backbone.weights.source,
        },
        "head": asdict(config.head),
        "experiment": config.experiment.name,
        "batchnorm": batchnorm_called(config.batchnorm),
        "seed": config.seed,
        "switches": asdict(effective(config, built)),
    }


def batchnorm_of(backbone: nn.Module, *, recalibrated: bool) -> BatchNormSwitches:
    """Returns the switches of the BatchNorm layers of ``backbone``.

    Layers before a cut, which stay as they are, are counted; the switches are those of the layers behind it.
    """
    states = [_state(layer) for _, layer in norm_layers(backbone)]
    if not states:
        return BatchNormSwitches(NONE, 0, NONE, False, False, False)
    others = [state for state in states if state != HELD]
    statistics, updates, affine = others[0] if others else HELD
    affine = any(state[2] for state in others)  # a layer may have no scale and shift
    switches = BatchNormConfig(NONE, statistics, updates, affine, recalibrated)
    return BatchNormSwitches(
        batchnorm_called(switches),
        len(states),
        statistics,
        updates,
        affine,
        recalibrated,
        len(states) - len(others) if others else 0,
    )


def _state(layer: nn.Module) -> tuple[str, bool, bool]:
    """Returns what normalises a layer in training, whether its statistics move, and whether its affine is trained."""
    trained = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    if follows_stored(layer):
        return STORED, False, trained
    return BATCH, bool(getattr(layer, "track_running_stats", False)), trained


def _preprocess_of(preprocess: nn.Module) -> PreprocessSwitches:
    assert isinstance(preprocess, Preprocess)
    on_cpu = deepcopy(preprocess).cpu()  # a run before this one may have moved it to a GPU
    with torch.no_grad():
        black, white = (on_cpu(torch.full((1, 3, 1, 1), value)).flatten().tolist() for value in (0.0, 255.0))
    config = PreprocessConfig(NONE, preprocess.normalise, preprocess.rescale)
    return PreprocessSwitches(preprocess_called(config), config.normalise, config.rescale, black, white)


def _backbone_of(built: BuiltModel, library: str) -> BackboneSwitches:
    net = built.classifier.backbone
    of_norms = {id(p) for _, layer in norm_layers(net) for p in layer.parameters(recurse=False)}
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return BackboneSwitches(
        built.backbone.name,
        library,
        all(id(parameter) in of_norms for parameter in trained),
        built.backbone.train_from,
        sum(parameter.numel() for parameter in net.parameters()),
        sum(parameter.numel() for parameter in trained),
        any(_drops(module) for module in net.modules()),
    )


def _drops(module: nn.Module) -> bool:
    """Says whether a module leaves out something at random in training: Dropout, and timm's DropPath and kin."""
    if not type(module).__name__.startswith(("Dropout", "DropPath", "DropBlock", "PatchDropout")):
        return False
    return any(getattr(module, name, None) for name in ("p", "drop_prob", "prob"))
