"""Where the stored route computes."""

from __future__ import annotations

import torch

from seedsweep.errors import SeedsweepError
from seedsweep.training.options import ArmSettings


def device_of(config: ArmSettings) -> torch.device:
    """Returns what ``trainer.accelerator`` means here; ``auto`` is CUDA if it is there, else the CPU.

    Raises:
        SeedsweepError: this machine lacks what is asked for.
    """
    wanted = config.trainer.accelerator
    kinds = {"auto": ("cuda", "cpu"), "gpu": ("cuda", "mps")}.get(wanted, (wanted,))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    for kind in kinds:
        if there[kind]:
            return torch.device(kind)
    raise SeedsweepError(f"trainer.accelerator={wanted} can't be used here; use trainer.accelerator=auto.")
