"""Averages the weights over the steps of a training: what is validated, kept and measured is the average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Keeps an exponential moving average of the weights, as Lightning does, which also writes it to checkpoints.

    The running statistics of BatchNorm layers are averaged like the weights; those that stay as they are stay so. The
    first steps weigh less than ``decay`` says, for a short training would otherwise keep its random head.

    Args:
        decay: share of the average that a step leaves as it was, from about its 10 / (1 - decay)th on.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=partial(_average, decay))

    @contextmanager
    def in_place(self, module: pl.LightningModule) -> Iterator[None]:
        """Gives ``module`` the average while the context lasts."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


def _average(decay: float, averaged: list[Tensor], current: list[Tensor], steps: Any) -> None:
    """Moves ``averaged`` towards ``current``, in place; ``steps`` were averaged before."""
    if not averaged[0].is_floating_point():  # counters of batches
        torch._foreach_copy_(averaged, current)
        return
    n = int(steps)
    torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))
