"""Features by row: in memory, or left on disk where they are too many."""

from __future__ import annotations

from collections.abc import Sequence

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
        """Returns float32 [B, C] of rows int64 [B]."""
        return self.view.take([self.images[row] for row in rows.tolist()])


FeatureRows = Tensor | MappedRows
