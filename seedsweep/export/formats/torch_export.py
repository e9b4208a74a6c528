"""torch.export's program: runs in PyTorch without seedsweep, and is what AOTInductor and ExecuTorch begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

NAME, SUFFIX = "torch_export", ".pt2"
ABOUT = "seedsweep.json"  # name of the metadata in the file


def check() -> None:
    """Does nothing: PyTorch alone writes and reads it."""


def write(net: nn.Module, example: Tensor, about: dict[str, str], path: Path) -> None:
    """Writes ``net`` with a free number of images; ``about`` comes back as ``extra_files`` of ``torch.export.load``."""
    torch.export.save(program(net, example), path, extra_files={ABOUT: json.dumps(about, allow_nan=False)})


def program(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Returns the traced net.

    Args:
        net: in eval mode.
        example: images [B, 3, H, W], B at least 2: a size of 1 would be taken for fixed.
    """
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(net, (example,), dynamic_shapes=({0: batch},), strict=False)


def reader(path: Path) -> Callable[[Tensor], Tensor]:
    """Returns what computes probabilities with the file alone."""
    net: Any = torch.export.load(path).module()

    def probabilities_of(images: Tensor) -> Tensor:
        with torch.inference_mode():
            probabilities: Tensor = net(images)
        return probabilities

    return probabilities_of
