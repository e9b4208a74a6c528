"""How many values an override has, and how many jobs a grid."""

from __future__ import annotations

import math
from typing import Any

from hydra.core.override_parser.types import Override, RangeSweep

from seedsweep.errors import SeedsweepError

MOST_JOBS = 10_000  # of a grid


def check_size(choices: list[list[str]]) -> None:
    """Raises SeedsweepError where a grid has too many jobs.

    Args:
        choices: of each override, its values.
    """
    if (number := math.prod(map(len, choices))) > MOST_JOBS:
        raise SeedsweepError(f"this grid has {number:,} jobs, but at most {MOST_JOBS:,} can run: sweep less.")


def values_of(override: Override) -> list[str]:
    """Returns an override a value; of ``interval(a, b)``, which another sweeper may know, its ends."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    key = override.get_key_element()
    if is_range(override):
        ends: Any = override.value()
        return [f"{key}={ends.start}", f"{key}={ends.end}"]
    if (number := _length(override)) > MOST_JOBS:
        line = override.input_line
        raise SeedsweepError(f"{line} has {number:,.0f} values, but a grid has at most {MOST_JOBS:,} jobs.")
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise SeedsweepError(f"{override.input_line} matches nothing.")
    return values


def _length(override: Override) -> float:
    """Returns how many values a range has, without making them; of all else 0."""
    sweep: Any = override.value()
    if not isinstance(sweep, RangeSweep):
        return 0
    if not sweep.step or any(not math.isfinite(each or 0) for each in (sweep.start, sweep.stop, sweep.step)):
        raise SeedsweepError(f"{override.input_line} has no end: write range(START,STOP,STEP).")
    return max(0.0, math.ceil((float(sweep.stop or 0) - float(sweep.start or 0)) / float(sweep.step)))


def is_range(override: Override) -> bool:
    """Says whether an override is a range without steps: ``interval(a, b)``."""
    return override.is_sweep_override() and not override.is_discrete_sweep()
