"""A run's switches in words."""

from __future__ import annotations

from seedsweep.runs.switches import BatchNormSwitches


def batchnorm_summary(switches: BatchNormSwitches) -> str:
    """Returns a line such as ``BatchNorm policy inference on 49 layers``."""
    if switches.layers == 0:
        return "no BatchNorm layers"
    line = f"BatchNorm policy {switches.policy} on {switches.layers} layers"
    held = switches.held_layers
    return f"{line} (of which the first {held} keep what they have)" if held else line


def random_and_frozen(weights: str | None, frozen: bool, train_from: str | None) -> str:
    """Returns a sentence about a backbone part that begins random and is not trained; empty: there is none.

    Args:
        weights: source of the weights: ``none`` for a random start.
        frozen: whether the backbone's convolutions are not trained.
        train_from: module from which on it is trained.
    """
    if weights != "none" or not (frozen or train_from):
        return ""
    if frozen:
        part, train = "the weights of the frozen backbone are", "backbone.freeze=false"
    else:
        part, train = f"the weights of the backbone before {train_from} are", "backbone.train_from=null"
    return (
        f"{part} random and are never trained, so the head learns on random features; give backbone.weights=auto or a "
        f"FILE, or train the backbone with {train}."
    )
