"""Where the stored route computes."""

from __future__ import annotations

import torch

from seedsweep.config.schema import Config


def device_of(config: Config) -> torch.device:
    """Returns what ``trainer.accelerator`` means here: CUDA if it is there and wanted, else the CPU."""
    wanted = config.trainer.accelerator
    if wanted == "mps":
        return torch.device("mps")
    cuda = torch.cuda.is_available()
    return torch.device("cuda" if cuda and wanted in ("auto", "gpu", "cuda") else "cpu")
