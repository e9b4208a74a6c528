"""Features by row: in memory, or left on disk where they are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.features.store import View


class MappedRows:
    """Reads rows from the memory-mapped shards when asked.

    Args:
        view: holds all of ``images``.
        images: SHA-256 a row.
    """

    def __init__(self, view: View, images: Sequence[str]) -> None:
        self.view = view
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Returns float32 [B, ...] of rows int64 [B]."""
        return self.view.take([self.images[row] for row in rows.tolist()])


class MixedRows:
    """Reads each row from a view of its own.

    Args:
        views: by number; each holds the images that are to be read from it.
        choice: number of the view a row, [n].
        images: SHA-256 a row.
    """

    def __init__(self, views: Mapping[int, View], choice: NDArray[np.int64], images: Sequence[str]) -> None:
        self.views = views
        self.choice = choice
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Returns float32 [B, ...] of rows int64 [B]."""
        wanted = self.choice[rows.numpy()]
        out: Tensor | None = None
        for number in np.unique(wanted):
            here = torch.from_numpy(np.flatnonzero(wanted == number))
            part = self.views[int(number)].take([self.images[row] for row in rows[here].tolist()])
            out = torch.empty(len(rows), *part.shape[1:]) if out is None else out
            out[here] = part
        return torch.zeros(0) if out is None else out


FeatureRows = Tensor | MappedRows | MixedRows
