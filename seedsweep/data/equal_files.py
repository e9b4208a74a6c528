"""Files that are equal byte by byte: their side of a split, and what becomes of two labels for one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.manifest import ImageTable
from seedsweep.data.pixels import Pixels
from seedsweep.data.walk import LeftOut

TWO_LABELS = "image(s) with two labels"  # of what is left out
WHY = (
    "an equal file is in another class, so that no answer is right: out of validation and test, unless "
    "data.contradictions=keep"
)


def equal_pairs(digests: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the rows of equal files, each with the first of its kind."""
    first: dict[str, int] = {}
    return [
        (first[digest], row) for row, digest in enumerate(digests) if first.setdefault(digest, row) != row
    ]


def contradicting(digests: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Says [N] which images have an equal file (by digest, [N]) in another class (by labels [N])."""
    pairs = [(a, b) for a, b in equal_pairs(digests) if labels[a] != labels[b]]
    found = {digests[a] for a, _ in pairs}
    return np.asarray([digest in found for digest in digests], dtype=bool)


def leave_out_contradicting(
    table: ImageTable, pixels: Pixels, everywhere: bool = False
) -> tuple[ImageTable, Pixels, list[LeftOut]]:
    """Takes images with two labels out of validation and test: whatever a net answers, one of the labels says no.

    Args:
        table: of the images.
        pixels: of them.
        everywhere: out of training too: of folds each is the test part once, and all have the same images.

    Returns:
        The table and the pixels without them, and what was left out.
    """
    out = contradicting(table.digests, table.labels)
    if not everywhere:
        out &= table.splits != "train"
    if not out.any():
        return table, pixels, []
    keep = np.flatnonzero(~out).tolist()
    gone = [
        LeftOut(
            table.paths[row],
            table.classes[int(table.labels[row])],
            TWO_LABELS,
            WHY.replace("of validation and test", "of all folds") if everywhere else WHY,
        )
        for row in np.flatnonzero(out)
    ]
    return table.part(keep), pixels.select(keep), gone
