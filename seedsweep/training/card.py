"""What a checkpoint tells beside its weights, so that the file alone can be moved and used."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import seedsweep
from seedsweep.models.build import BuiltModel
from seedsweep.models.called import batchnorm_called, preprocess_called
from seedsweep.runs.switches import Switches
from seedsweep.training.options import ArmSettings


def card_of(
    config: ArmSettings,
    built: BuiltModel,
    switches: Switches,
    classes: list[str],
    values: dict[str, list[float]],
) -> dict[str, Any]:
    """Returns the card of a net: plain numbers, strings, lists and dicts, which torch reads without running code.

    Args:
        config: the run's.
        built: the net, for what ``backbone=auto`` turned out to be.
        switches: what the run does (see ``effective``).
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
        "switches": switches.as_dict(),
    }
