"""What every engine offers.

A file of this folder is an engine if it defines ``NAME`` (str), ``DEVICES`` (device types it serves),
``PRECISIONS`` (of ``features.precision``), ``available() -> bool``, ``HINT`` (how to install it),
``RANK`` (int; ``features.engine=auto`` takes the highest of what can serve) and
``build(net, size, precision, device) -> Engine``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Engine(Protocol):
    """A frozen net, ready to answer.

    ``at_once`` is how many threads should call it at the same time, so that no core waits between two batches;
    ``device`` where it computes.
    """

    name: str
    device: torch.device
    at_once: int

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] of images [B, 3, H, W], uint8 or float32, values 0..255."""
