"""Whether a grid goes on with the settings that its jobs were trained with, asked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

import yaml

from seedsweep.config.schema import Config
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.overrides import key_of, text_of
from seedsweep.runs.job_record import JOB, holds_run
from seedsweep.runs.naming import varied
from seedsweep.runs.settings import other_settings
from seedsweep.training.identity import digest, what_counts
from seedsweep.whole import read_json

NOT_COMPARED = ("experiment.teaches",)
MOST = 16  # values of newly swept settings that are tried for one job


def check_settings(
    grid: Path, choices: Mapping[str, Sequence[str]], compose: Callable[[list[str]], Config]
) -> None:
    """Compares the settings of a grid's jobs with those that their folders were trained with.

    A job with another value of a swept setting is no job of this command line: it is passed over.

    Args:
        grid: its folder, which a new grid does not have yet.
        choices: the overrides that each key takes, one a value.
        compose: makes a job's configuration of its overrides.

    Raises:
        SeedsweepError: a job would go on, or stand in one table, with other settings.
    """
    if holds_run(grid):
        raise SeedsweepError(f"{grid} holds a single run, and no grid: give another hydra.sweep.dir.")
    jobs = [path.parent for path in sorted(grid.glob(f"*/{JOB}")) if holds_run(path.parent)]
    if not jobs:
        return
    swept = set(varied(grid))
    seen = set()
    for job in jobs:
        try:
            note = read_json(job / JOB)
        except DamagedError:  # the job itself says so
            continue
        lines = None if note.get("task") else _lines(_recorded(job), choices, swept)
        if not lines:
            continue
        alike = tuple(tuple(each) for key, each in lines.items() if key != "seed")
        if alike in seen:  # it differs from a job that was compared in its seed alone
            continue
        seen.add(alike)
        told = ""
        for together in islice(product(*lines.values()), MOST):
            config = compose(list(together))
            told = (
                ""
                if digest(config) == note.get("config")
                else other_settings(job, what_counts(config), NOT_COMPARED)
            )
            if not told:
                break
        if told:
            raise SeedsweepError(
                f"the grid in {grid} was begun with other settings (in {job.name} {told}), and keeps those: leave "
                "them out, or begin a new grid (the command without resume=, with another hydra.sweep.dir)."
            )


def _recorded(job: Path) -> dict[str, str]:
    """Returns the overrides that a job was called with, by key; none where they can't be read."""
    try:
        lines = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {key_of(str(line)): str(line) for line in lines} if isinstance(lines, list) else {}


def _lines(
    recorded: Mapping[str, str], choices: Mapping[str, Sequence[str]], swept: set[str]
) -> dict[str, Sequence[str]] | None:
    """Returns the overrides that a job would have now, several where a key is newly swept; None: it is not of these."""
    if not recorded or swept & recorded.keys() - choices.keys():
        return None
    lines: dict[str, Sequence[str]] = {}
    for key, values in choices.items():
        if key in recorded and (key in swept or len(values) > 1):
            values = [line for line in values if _value(line) == _value(recorded[key])][:1]
            if not values:
                return None
        lines[key] = values
    return lines


def _value(line: str) -> str | float:
    value = text_of(line.partition("=")[2])
    try:
        return float(value)
    except ValueError:
        return value
