"""Whether a grid can go on with the settings and the images that it began with, asked before any job begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path

from seedsweep.cli.composing import Composer
from seedsweep.cli.config.schema import Config
from seedsweep.data.pin import Pin
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.overrides import key_of, text_of
from seedsweep.runs.jobs import JOB, holds_run, is_finished, shared_manifest
from seedsweep.runs.recorded import REPEATS, SINGLE, count, read_recorded, varied
from seedsweep.runs.settings import other_settings
from seedsweep.training.options import run_digest, what_counts
from seedsweep.whole import read_json

NOT_COMPARED = ("experiment.teaches",)
MOST = 16  # values of newly swept settings that are tried for one job


def check_settings(grid: Path, choices: Mapping[str, Sequence[str]], compose: Composer) -> None:
    """Compares the settings of a grid's jobs with those that their folders were trained with.

    A job with another value of a swept setting is no job of this command line: it is passed over.

    Raises:
        SeedsweepError: a job would go on, or stand in one table, with other settings.
    """
    if holds_run(grid):
        raise SeedsweepError(f"{grid} holds a single run, and no grid: give another hydra.sweep.dir.")
    jobs = [path.parent for path in sorted(grid.glob(f"*/{JOB}")) if holds_run(path.parent)]
    swept = set(varied(grid)) if jobs else set()
    seen = set()
    for job in jobs:
        try:
            note = read_json(job / JOB)
        except DamagedError:  # the job itself says so
            continue
        recorded = {} if note.get("task") else {key_of(line): line for line in _recorded(job)}
        lines = _lines(recorded, choices, swept)
        alike = tuple(tuple(each) for key, each in (lines or {}).items() if key not in REPEATS)
        if not lines or alike in seen:  # it differs from a job that was compared in its seed or fold alone
            continue
        seen.add(alike)
        differs = ""
        for together in islice(product(*lines.values()), MOST):
            config = compose.config(together)
            is_same = run_digest(config) == note.get("config")
            differs = "" if is_same else other_settings(job, what_counts(config), NOT_COMPARED)
            if not differs:
                break
        if differs:
            raise SeedsweepError(
                f"the grid in {grid} was begun with other settings (in {job.name} {differs}), and keeps those: leave "
                "them out, or begin a new grid (the command without resume=, with another hydra.sweep.dir)."
            )


def _recorded(job: Path) -> list[str]:
    """Returns the overrides that a job was called with; none where they can't be read."""
    with suppress(DamagedError):
        return read_recorded(job / SINGLE).overrides
    return []


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


def check_images_of(grid: Path, config: Config, compared: set[Path]) -> None:
    """Compares the images of a job with those that the grid began with; nothing if there is no job to go.

    Raises:
        RefusedError: images are missing or have another content.
    """
    if config.data.fold:  # of the images of fold 0; the job itself compares all of them
        return
    path = shared_manifest(grid, config.data)
    if config.data.root is None or path in compared or not path.is_file() or not _is_wanted(grid, config):
        return
    from seedsweep.data.prepare import prepare_images  # it brings torch

    compared.add(path)
    print(f"comparing the images below {config.data.root} with {path}", flush=True)  # before there is a log
    prepare_images(config.data, config.cache_dir, Pin.of_grid(path))


def _done(grid: Path) -> Iterator[str | None]:
    """Yields the digests of the finished jobs' settings."""
    for job in grid.glob("*/"):
        with suppress(DamagedError):  # of one job: it fails by itself, and the table says why
            if is_finished(job):
                yield read_json(job / JOB).get("config")


def _is_wanted(grid: Path, config: Config) -> bool:
    """Says whether jobs with this split are to go: images of those that are done may be gone."""
    done = set(_done(grid))
    total = count(varied(grid))
    if total is not None and len(done) >= total:
        return False
    return run_digest(config) not in done or len(list(grid.glob("manifest_*.csv"))) == 1
