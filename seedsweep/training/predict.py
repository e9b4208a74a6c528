"""Logits of given images with the net as it stands, in whatever mode it is."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from seedsweep.data.prepare import PreparedImages
from seedsweep.training.module import ArmModule


class Source(Protocol):
    """Where a run's images come from: pixels, or features that were stored."""

    prepared: PreparedImages

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns what ``net``, a Classifier, answers to the un-augmented images of ``rows`` (int64 [n])."""


def predict(module: ArmModule, images: Source, rows: Tensor, batch_size: int) -> Tensor:
    """Returns float32 logits [n, N] on the CPU, un-augmented, in the order of ``rows``.

    Args:
        module: its precision and device are used; train or eval mode is the caller's choice.
        images: where the pixels or features are.
        rows: table rows, int64 [n].
        batch_size: images a forward pass.
    """
    parts: list[Tensor] = []
    with (
        torch.no_grad(),
        torch.autocast(
            module.device.type, dtype=module.autocast_dtype, enabled=module.autocast_dtype is not None
        ),
    ):
        for part in torch.split(rows, batch_size):
            parts.append(images.logits(module.classifier, part, module.device).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0, len(module.classes))
