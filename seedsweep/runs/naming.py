"""What a grid varies: the names of its arms, and how many jobs there are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from seedsweep.errors import DamagedError
from seedsweep.runs.recorded import GRID, UNREADABLE, read_whole

UNLABELLED = ("seed", "experiment", "rung", "sweep", "resume")  # swept keys that don't name an arm


def arm_label(experiment: str, overrides: list[str], swept: set[str]) -> str:
    """Names an arm: its experiment, and what else the grid varies besides the seed.

    Args:
        experiment: ``experiment.name``.
        overrides: those of this job.
        swept: the keys that the grid varies.
    """
    parts = [experiment]
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key in swept and key not in UNLABELLED:
            parts.append(f"{key}={override.get_value_element_as_str()}")
    return " ".join(parts)


def varied(grid: Path) -> dict[str, Override]:
    """Returns the swept overrides by key, from the multirun.yaml that Hydra writes before the first job."""
    path = grid / GRID
    if not path.is_file():
        return {}
    try:
        last = read_whole(path, _last)
    except UNREADABLE as error:
        raise DamagedError(f"{path} is damaged: put back a copy of it, or begin the grid anew.") from error
    return {key: override for key, override in last.items() if override.is_sweep_override()}


def _last(hydra: Any) -> dict[str, Override]:
    params = hydra["sweeper"].get("params") or {}
    lines = [*[f"{key}={value}" for key, value in params.items()], *hydra["overrides"]["task"]]
    return {o.key_or_group: o for o in OverridesParser.create().parse_overrides(lines)}


def count(swept: dict[str, Override]) -> int | None:
    """Returns the number of jobs; None if only the sweeper knows it."""
    try:
        return math.prod(len(list(override.sweep_string_iterator())) for override in swept.values())
    except (HydraException, AssertionError):  # glob(...) and interval(...)
        return None
