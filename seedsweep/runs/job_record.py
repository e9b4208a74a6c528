"""What a job leaves in its folder, so that a later command line knows what became of it."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from seedsweep.config.location import study_of
from seedsweep.config.same import split_settings, what_counts
from seedsweep.config.schema import Config
from seedsweep.errors import DivergedError
from seedsweep.runs.record import divergence_of, read_metrics
from seedsweep.runs.record import is_finished as is_finished  # what became of a job is asked for here
from seedsweep.whole import read_json, write_json

LOCK = ".running"
JOB = "job.json"  # of a job of a grid: what it is


def digest(config: Config) -> str:
    """Returns what must be equal for a job to be the same job: everything but where it is written."""
    return hashlib.sha256(
        json.dumps(what_counts(config), sort_keys=True, allow_nan=False).encode()
    ).hexdigest()


def write_run(grid: Path, folder: Path, config: Config, label: str) -> None:
    """Notes which run a job of a grid trains, and where the images of all jobs with its split are written down."""
    pin = os.path.relpath(shared_manifest(grid, config), folder)  # the grid may be moved
    write_json(folder / JOB, {"config": digest(config), "label": label, "pin": pin})


def shared_manifest(grid: Path, config: Config) -> Path:
    """Returns where the jobs of a grid that ask for the same split have it written down."""
    settings = json.dumps(split_settings(config.data), sort_keys=True, allow_nan=False)
    return grid / f"manifest_{hashlib.sha256(settings.encode()).hexdigest()[:8]}.csv"


def pin_of(folder: Path) -> Path | None:
    """Returns the manifest that a grid's job shares with others; None of a run by itself."""
    pin = read_json(folder / JOB).get("pin")
    return Path(os.path.normpath(folder / pin)) if pin else None


def diverged(folder: Path) -> DivergedError | None:
    """Returns how the run in ``folder`` diverged: the same settings would do so again; None: it did not."""
    return divergence_of(read_metrics(folder))


def is_ended(folder: Path) -> bool:
    """Says whether there is nothing left to train in ``folder``: it is finished, or diverged."""
    return is_finished(folder) or diverged(folder) is not None


def holds_run(folder: Path) -> bool:
    """Says whether something was trained in ``folder``."""
    return (folder / "metrics.json").is_file() or (folder / "checkpoints").is_dir()


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Keeps other processes off a run while it goes on; yields False if one of them has it.

    The system drops the lock of a killed process. Where a file system knows no locks, nobody is kept off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield True
    finally:
        # before it is released: a process that waits for it sees that the file is gone, and makes another
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def is_running(folder: Path) -> bool:
    """Says whether a process has the run in ``folder`` now."""
    if not (folder / LOCK).is_file():
        return False
    with alone(folder) as ours:
        return not ours


def reason_of(caught: BaseException) -> str:
    """Returns the first line of an error, with its kind."""
    text = str(caught).strip().splitlines()
    return f"{type(caught).__name__}: {text[0]}" if text else type(caught).__name__


def write_error_log(folder: Path) -> Path:
    """Writes the traceback of the error being handled; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "error.log"
    path.write_text(traceback.format_exc())
    return path


def write_failure(folder: Path, config: Config | DictConfig, label: str, reason: str) -> None:
    """Notes why a job of a grid has no result."""
    content = {"reason": reason, "label": label, "experiment": config.experiment.name, "seed": config.seed}
    write_json(folder / "failure.json", content)


def write_task(folder: Path, config: Config, label: str, *, ended: bool) -> None:
    """Notes what a job of a grid does that trains no run of its own, and whether it came to its end.

    What it finds is kept elsewhere: of a study the note says where.
    """
    content = {"label": label, "task": config.task, "ended": ended}
    if config.task == "study":
        content |= {"study": str(study_of(config)), "leads": config.study.job == 0}
    write_json(folder / JOB, content)
