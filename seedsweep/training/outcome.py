"""How a fit ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """``best_epoch`` counts from 0; -1: no epoch was finished. ``precision`` is that of the training."""

    best_epoch: int
    interrupted: bool
    precision: str
