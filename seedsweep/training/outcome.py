"""How a fit ended."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.errors import DivergedError


@dataclass(frozen=True)
class Outcome:
    """``best_epoch`` counts from 0; -1: no epoch was finished. ``trained_in`` is a precision.

    ``diverged`` says where the loss became NaN or infinite; None: it did not.
    """

    best_epoch: int
    interrupted: bool
    trained_in: str  # float32 | bfloat16 | float16
    diverged: DivergedError | None = None
