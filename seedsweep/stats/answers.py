"""Correct and wrong answers as an array: checked once, where they come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedsweep.errors import SeedsweepError


def correct_answers(correct: ArrayLike, groups: ArrayLike | None = None) -> NDArray[np.float64]:
    """Returns ``correct``, [N] or [S seeds, N images], as float64 [S, N] of 0 and 1.

    Args:
        correct: 1 or True where an image is classified correctly, 0 or False elsewhere.
        groups: [N] names, or None.

    Raises:
        SeedsweepError: there are other values, no images, another number of dimensions, or not one group an image.
    """
    values = np.atleast_2d(np.asarray(correct, dtype=float))
    if values.ndim != 2 or values.size == 0:
        raise SeedsweepError(
            f"Correct answers must be an array [images] or [seeds, images], but its shape is {list(np.shape(correct))}."
        )
    if not np.isin(values, (0, 1)).all():
        raise SeedsweepError(
            "Correct answers must be 1 (or True) and wrong ones 0 (or False), and nothing else."
        )
    if groups is not None and np.shape(groups) != values.shape[1:]:
        raise SeedsweepError(
            f"There must be one group for each of the {values.shape[1]} images, but the groups' shape is "
            f"{list(np.shape(groups))}."
        )
    return values
