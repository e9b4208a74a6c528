"""Logits of given images with the net as it stands, in whatever mode it is."""

from __future__ import annotations

import torch
from torch import Tensor

from seedsweep.data.datamodule import ImageDataModule
from seedsweep.training.module import ArmModule


def predict(module: ArmModule, images: ImageDataModule, rows: Tensor, batch_size: int) -> Tensor:
    """Returns float32 logits [n, N] on the CPU, un-augmented, in the order of ``rows``.

    Args:
        module: its precision and device are used; train or eval mode is the caller's choice.
        images: where the pixels are.
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
            pixels = images.prepared.pixels.batch(part.numpy()).to(module.device)
            parts.append(module(pixels).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0, len(module.classes))
