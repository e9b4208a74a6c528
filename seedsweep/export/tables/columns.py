"""The columns that every kind of table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.names import printable

FIXED = ("path", "predicted", "confidence")
Probabilities = NDArray[np.float32]
Add = Callable[[Sequence[str], Probabilities], None]


def names(classes: Sequence[str]) -> list[str]:
    """Returns path, predicted, confidence and a ``p_`` column a class."""
    return [*FIXED, *(f"p_{name}" for name in classes)]


def columns(
    paths: Sequence[str], probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, list[object]]:
    """Returns the columns of some images by name.

    Args:
        paths: of the images.
        probabilities: [B, N].
        classes: N names.
    """
    best = probabilities.argmax(1)
    values: list[list[object]] = [
        [printable(path) for path in paths],
        [classes[number] for number in best],
        probabilities.max(1).tolist(),
        *(column.tolist() for column in probabilities.T),
    ]
    return dict(zip(names(classes), values, strict=True))
