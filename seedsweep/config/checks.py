"""Bounds checks that answer with one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from seedsweep.errors import SeedsweepError


def at_least(name: str, value: float, low: float) -> None:
    """Raises SeedsweepError unless ``value >= low``."""
    if not value >= low:
        raise SeedsweepError(f"{name} is {value}, but must be at least {low}.")


def positive(name: str, value: float) -> None:
    """Raises SeedsweepError unless ``value > 0``."""
    if not value > 0:
        raise SeedsweepError(f"{name} is {value}, but must be greater than 0.")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises SeedsweepError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise SeedsweepError(f"{name} is {value}, but must lie between {low} and {high}.")


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises SeedsweepError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise SeedsweepError(f"{name} is '{value}', but must be one of: {', '.join(choices)}.")
