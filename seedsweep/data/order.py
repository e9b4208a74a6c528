"""The order of the training images in an epoch."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_order(n: int, batch_size: int, seed: int, epoch: int) -> Tensor:
    """Returns positions 0..n-1 in random order, int64: a pure function of its arguments.

    The last one is left out where it would be a batch by itself: BatchNorm can't take batch statistics of one.
    """
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    return torch.randperm(n, generator=generator)[: length(n, batch_size)]


def length(n: int, batch_size: int) -> int:
    """Returns how many images an epoch has."""
    return n - 1 if batch_size > 1 and n > 1 and n % batch_size == 1 else n


def epoch_seed(seed: int, epoch: int) -> int:
    """Returns the seed of an epoch's random numbers."""
    return (seed * 1_000_003 + epoch) % 2**63
