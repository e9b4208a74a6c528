"""Decodes every image once: proves that it can be read, digests it, and keeps it if there is room."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from seedsweep.data.images import BadImageError, read_image


class Pixels:
    """The images at the size of the net, from memory or from disk.

    Args:
        paths: of all rows.
        size: (height, width).
        memory: uint8 [N, 3, H, W], or None to decode on demand.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], memory: Tensor | None) -> None:
        self.paths = paths
        self.size = size
        self.memory = memory

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Returns uint8 [B, 3, H, W] of the given rows."""
        if self.memory is not None:
            return self.memory[torch.as_tensor(np.asarray(rows), dtype=torch.int64)]
        return torch.stack([_tensor(read_image(self.paths[row], self.size)) for row in rows])


def decode(
    paths: Sequence[Path], size: tuple[int, int], cache_gib: float, workers: int
) -> tuple[Pixels, list[str], dict[int, str]]:
    """Reads all files, in threads (Pillow decodes outside Python's lock).

    Args:
        paths: the files.
        size: (height, width).
        cache_gib: kept in memory if they need no more than this.
        workers: threads; -1: one per core.

    Returns:
        The pixels, the SHA-256 of each file ("" for bad ones), and the reasons of bad files by row.
    """
    n_bytes = len(paths) * 3 * size[0] * size[1]
    memory = torch.empty((len(paths), 3, *size), dtype=torch.uint8) if n_bytes <= cache_gib * 2**30 else None
    digests, bad = [""] * len(paths), {}

    def one(row: int) -> None:
        try:
            digests[row] = hashlib.sha256(paths[row].read_bytes()).hexdigest()
            image = read_image(paths[row], size)
        except (BadImageError, OSError) as error:
            bad[row] = str(error)
            return
        if memory is not None:
            memory[row] = _tensor(image)

    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    threads = workers if workers > 0 else (os.cpu_count() or 1)
    with Progress(*columns, transient=True) as progress, ThreadPoolExecutor(threads) as pool:
        task = progress.add_task("", total=len(paths))
        for _ in pool.map(one, range(len(paths))):
            progress.advance(task)
    return Pixels(paths, size, memory), digests, dict(sorted(bad.items()))


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
