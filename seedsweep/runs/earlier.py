"""What the records of earlier versions left unsaid, by the settings that lie beside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.data.options import AugmentConfig
from seedsweep.errors import SeedsweepError
from seedsweep.models.called import augment_called, batchnorm_called, preprocess_called
from seedsweep.models.options import PreprocessConfig
from seedsweep.runs.switches import (
    NONE,
    AugmentSwitches,
    BackboneSwitches,
    BatchNormSwitches,
    HeadSwitches,
    OptimSwitches,
    PreprocessSwitches,
    Switches,
    TrainerSwitches,
)

UNKNOWN = "unknown"


def policy_of(settings: dict[str, Any]) -> str:
    """Returns the BatchNorm policy that a run's saved settings come to, or unknown."""
    found = batchnorm_of(settings, {})
    return found.policy if found else UNKNOWN


def scaling_of(settings: dict[str, Any]) -> str:
    """Returns what the input scaling of a run's saved settings is called, or unknown."""
    found = preprocess_of(settings)
    return found.name if found else UNKNOWN


def saved_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings that Hydra wrote beside a run, as plain YAML; empty where there are none."""
    try:
        content = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def batchnorm_of(settings: dict[str, Any], content: dict[str, Any]) -> BatchNormSwitches | None:
    """Returns what a run's settings made of its BatchNorm layers; ``content`` is its record. None: not known."""
    layers = content.get("norm_layers")
    if layers == 0:
        return BatchNormSwitches(NONE, 0, NONE, False, False, False)
    try:
        given = dict(settings["batchnorm"])
        if given.get("training_statistics") == "stored":
            given["update_statistics"] = False  # earlier versions took both, and did this
        config = BatchNormConfig(**given)
        cut = settings["backbone"].get("train_from") is not None and config.train_affine
    except (KeyError, TypeError, AttributeError, SeedsweepError):
        return None
    return BatchNormSwitches(
        batchnorm_called(config),
        layers,
        config.training_statistics,
        config.update_statistics,
        config.train_affine,
        config.recalibrate,
        None if cut else 0,
    )


def preprocess_of(settings: dict[str, Any]) -> PreprocessSwitches | None:
    """Returns what a run's settings made of its inputs; None: not known."""
    try:
        config = PreprocessConfig(**settings["preprocess"])
    except (KeyError, TypeError):
        return None
    return PreprocessSwitches(preprocess_called(config), config.normalise, config.rescale)


def augment_of(settings: dict[str, Any]) -> AugmentSwitches | None:
    """Returns what a run's settings made of its training images; None: not known."""
    try:
        config = AugmentConfig(**settings["augment"])
    except (KeyError, TypeError, SeedsweepError):
        return None
    return AugmentSwitches(**{**asdict(config), "name": augment_called(config)})


def switches_of(settings: dict[str, Any], content: dict[str, Any]) -> Switches | None:
    """Returns all switches of a run by its settings and its record; None: not known.

    Raises:
        KeyError, TypeError, AttributeError: settings are missing.
    """
    batchnorm, preprocess, augment = (
        batchnorm_of(settings, content), preprocess_of(settings), augment_of(settings),
    )  # fmt: skip
    if batchnorm is None or preprocess is None or augment is None:
        return None
    backbone, head, optim, trainer = (settings[key] for key in ("backbone", "head", "optim", "trainer"))
    return Switches(
        batchnorm,
        preprocess,
        augment,
        BackboneSwitches(content["backbone"], backbone["library"], content["frozen"], content.get("train_from")),
        HeadSwitches(**{key: head[key] for key in ("width", "dropout", "class_weights", "label_smoothing")}),
        OptimSwitches(
            optim["name"], optim["lr"], optim["weight_decay"], optim["momentum"] if optim["name"] == "sgd" else None
        ),
        TrainerSwitches(
            trainer["max_epochs"], trainer["patience"], content["batch_size"], trainer["precision"],
            trainer["accelerator"], trainer["channels_last"],
        ),
    )  # fmt: skip
