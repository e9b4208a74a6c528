"""A checkpoint of seedsweep as a weight file: what its card says about the backbone in it."""

from __future__ import annotations

import logging

from seedsweep.errors import SeedsweepError
from seedsweep.models.called import preprocess_called
from seedsweep.models.fitting import WeightsMisfitError
from seedsweep.models.options import PreprocessConfig
from seedsweep.models.tensors import WeightFile

log = logging.getLogger(__name__)

OURS = "a checkpoint of seedsweep"  # a note of weights begins with it in brackets
RANDOM_AND_FROZEN = "random start, and what is frozen stays random"  # a note of weights, which cards hold


def check_ours(file: WeightFile, name: str, understands_keras: bool) -> bool:
    """Checks that a checkpoint of ours holds a backbone; of another program's file, nothing.

    Args:
        file: the file.
        name: of the net that is to be filled.
        understands_keras: whether that net can be made to behave as Keras' does.

    Returns:
        Whether the net must behave as Keras' does.

    Raises:
        SeedsweepError: it holds a head alone, or weights of Keras for a net that can't behave as Keras'.
    """
    if file.card is None:
        return False
    if not file.whole:
        raise SeedsweepError(
            f"{file.path} is of a study's trial and holds the head alone, no backbone: train the winner "
            "(+experiment=best_of_STUDY) and give its checkpoint."
        )
    if file.card["backbone"]["weights"] == RANDOM_AND_FROZEN:
        log.warning(
            "!!! %s: the frozen part of the backbone in it began random and was never trained", file.path
        )
    keras = bool(file.card["backbone"].get("keras"))
    if keras and not understands_keras:
        raise SeedsweepError(
            f"{file.path} holds weights of Keras' {file.card['backbone']['name']}, which {name} would compute "
            f"otherwise: take {choice_of(file)}."
        )
    return keras


def choice_of(file: WeightFile) -> str:
    """Returns the setting that chooses the backbone of a checkpoint of ours."""
    assert file.card is not None
    backbone = file.card["backbone"]
    if backbone["library"] == "timm":
        return f"backbone=timm backbone.name={backbone['name']}"
    return f"backbone={backbone['name']}"


def why_not_ours(file: WeightFile, name: str) -> SeedsweepError | None:
    """Returns why a checkpoint of ours doesn't fit the net ``name``; None where its card names this very net."""
    if file.card is None or file.card["backbone"]["name"] == name:
        return None
    return WeightsMisfitError(
        f"{file.path} doesn't fit {name}: it is a checkpoint of seedsweep with the backbone "
        f"{file.card['backbone']['name']}: take {choice_of(file)}."
    )


def about(file: WeightFile) -> str:
    """Returns what a checkpoint of ours says about its backbone's training; empty for another program's file."""
    card = file.card
    if card is None:
        return ""
    began, run = card["backbone"]["weights"], f"run of {card['experiment']}"
    if f"({OURS}" in began:  # it began with another one, whose own start its card tells
        began = f"{began.partition(' (')[0]}, a checkpoint of seedsweep too"
    lines = [f"{OURS}, {card['backbone']['name']} of a {run}, which began with {began}"]
    policy = (card.get("switches") or {}).get("batchnorm")
    if not any(name.endswith("running_mean") for name in file.tensors):
        pass  # no BatchNorm
    elif policy is None:
        lines.append(f"BatchNorm statistics as that run left them (batchnorm={card['batchnorm']})")
    elif policy["update_statistics"] and policy["training_statistics"] == "batch":
        lines.append("BatchNorm statistics moved by that run's training")
    elif policy["recalibrate"]:
        lines.append("BatchNorm statistics re-estimated on that run's images")
    else:
        lines.append("BatchNorm statistics as that run found them")
    scaling = PreprocessConfig(**card["preprocess"])
    if not scaling.normalise or scaling.rescale:
        lines.append(f"trained on inputs as preprocess={preprocess_called(scaling)} scales them")
    return "; ".join(lines)
