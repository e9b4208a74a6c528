"""A run's switches in words."""

from __future__ import annotations

from seedsweep.runs.switches import BatchNormSwitches


def batchnorm_told(switches: BatchNormSwitches) -> str:
    """Returns a line such as ``BatchNorm policy inference on 49 layers``."""
    if switches.layers == 0:
        return "no BatchNorm layers"
    told = f"BatchNorm policy {switches.policy} on {switches.layers} layers"
    held = switches.held_layers
    return f"{told} (of which the first {held} keep what they have)" if held else told
