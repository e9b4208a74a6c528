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

from seedsweep.affects import SPLIT, content
from seedsweep.data.options import DataConfig
from seedsweep.errors import DivergedError
from seedsweep.runs.record import divergence_of, read_metrics
from seedsweep.runs.record import is_finished as is_finished  # what became of a job is asked for here
from seedsweep.whole import read_json, write_json

LOCK = ".running"
JOB = "job.json"  # of a job of a grid: what it is


def write_run(folder: Path, digest: str, label: str, manifest: Path) -> None:
    """Notes which run a job of a grid trains.

    Args:
        folder: of the job.
        digest: of its settings.
        label: its name in tables.
        manifest: where the images of all jobs with its split are written down.
    """
    pin = os.path.relpath(manifest, folder)  # the grid may be moved
    write_json(folder / JOB, {"config": digest, "label": label, "pin": pin})


def shared_manifest(grid: Path, data: DataConfig) -> Path:
    """Returns where the jobs of a grid that ask for the same split have it written down."""
    settings = json.dumps(content(data, only=SPLIT), sort_keys=True, allow_nan=False)
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


def write_failure(folder: Path, experiment: str, seed: int, label: str, reason: str) -> None:
    """Notes why a job of a grid has no result."""
    write_json(
        folder / "failure.json", {"reason": reason, "label": label, "experiment": experiment, "seed": seed}
    )


def write_task(folder: Path, task: str, label: str, *, ended: bool, study: Path | None, leads: bool) -> None:
    """Notes what a job of a grid does that trains no run of its own, and whether it came to its end.

    Args:
        folder: of the job.
        task: what it does.
        label: its name in tables.
        ended: whether it came to its end.
        study: the folder of the study that it works on; None: it does another task.
        leads: of a study, whether it is its main process.
    """
    note = {"label": label, "task": task, "ended": ended}
    write_json(folder / JOB, note | ({"study": str(study), "leads": leads} if study else {}))
