"""A batch in small pieces, each on a core of its own, or a few.

All cores on one batch wait for one another at the end of every layer, and whoever else needs a core for a moment (a
decoder) stops them all; and what a layer hands to the next leaves the processor's cache.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Lane = Callable[[NDArray[np.float32]], NDArray[np.float32]]

AT_ONCE = 2  # calls: a lane that the first leaves idle at its end serves the next


class SideBySide:
    """Answers with several copies of a net; may be called from several threads.

    Args:
        lanes: the copies: float32 pixels [b, 3, H, W], contiguous, to features [b, ...] in memory of their own; each
            is called by one thread at a time, and computes outside Python's lock.
        piece: images a call; the last of a batch may have fewer.
    """

    def __init__(self, lanes: Sequence[Lane], piece: int) -> None:
        self.piece = piece
        # for as long as the engine lives: OpenVINO gives each thread that ever called it a place among its streams
        self._pool = ThreadPoolExecutor(len(lanes))
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] of images [B, 3, H, W], uint8 or float32, on the CPU."""
        pixels = images.cpu().numpy()
        parts = [pixels[at : at + self.piece] for at in range(0, len(pixels), self.piece)]
        return torch.from_numpy(np.concatenate(list(self._pool.map(self._answer, parts))))

    def _answer(self, part: NDArray[np.generic]) -> NDArray[np.float32]:
        lane = self._free.get()
        try:
            return lane(np.ascontiguousarray(part, dtype=np.float32))
        finally:
            self._free.put(lane)
