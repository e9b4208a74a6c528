"""The folder of a grid, and what a job leaves in its own, so that a later command line knows what became of it."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard

from filelock import FileLock, Timeout
from omegaconf import OmegaConf, open_dict

from seedsweep.affects import SPLIT, content
from seedsweep.data.options import DataConfig
from seedsweep.errors import DamagedError, DivergedError, SeedsweepError
from seedsweep.overrides import setting
from seedsweep.runs.command import typed
from seedsweep.runs.record import divergence_of, has_scores, read_metrics
from seedsweep.runs.record import is_finished as is_finished  # what became of a job is asked for here
from seedsweep.runs.recorded import COPY, GRID
from seedsweep.whole import read_json, write_json

LOCK = ".running"
JOB = "job.json"  # of a job of a grid: what it is
OF_FOLD = "_fold"  # in the names of manifests of one grid
AUDIT = "audit.json"  # in the folder of an audit
CLOCK = "${now:"


def is_named_by_clock(folder: Any) -> bool:
    """Says whether a folder is named after the time of day: ``hydra.run`` or ``hydra.sweep`` of a composed config."""
    return CLOCK in str(OmegaConf.to_container(folder, resolve=False))


def settle_run(hydra: Any) -> None:
    """Makes a single run's folder where it is named after the clock, as :func:`settle_grid` does."""
    if is_named_by_clock(hydra.run):
        with open_dict(hydra):
            hydra.run.dir = str(_new(Path(hydra.run.dir)))


def settle_grid(hydra: Any) -> Path:
    """Makes the grid's folder and writes its full path into Hydra's config, for the jobs' processes.

    A folder named after the clock is made anew: of two grids begun in the same second, one gets ``..._2``.

    Returns:
        The folder, absolute.
    """
    wanted = Path(hydra.sweep.dir).absolute()
    folder = _new(wanted) if is_named_by_clock(hydra.sweep) else wanted
    folder.mkdir(parents=True, exist_ok=True)
    with open_dict(hydra):
        hydra.sweep.dir = str(folder)
        # each job composes its config again
        hydra.overrides.hydra.append(setting("hydra.sweep.dir", str(folder)))
    return folder


def _new(wanted: Path) -> Path:
    """Makes a folder of this name, or with a number behind it where there is one already."""
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def has_jobs(folder: Path | None) -> TypeGuard[Path]:
    """Says whether a job of the grid was begun; a folder that nothing was written into is removed."""
    if folder is None or not folder.is_dir():
        return False
    if not (folder / GRID).is_file():
        (folder / COPY).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    return any(folder.glob(f"*/{JOB}"))


def has_tasks(folder: Path | None) -> bool:
    """Says whether a job of the grid did another task than training: Hydra tells of none that a swept file chooses."""
    for path in folder.glob(f"*/{JOB}") if folder is not None else ():
        with suppress(DamagedError):  # the table says so
            if read_json(path).get("task"):
                return True
    return False


def write_run(folder: Path, digest: str, label: str, manifest: Path) -> None:
    """Notes which run a job of a grid trains."""
    pin = os.path.relpath(manifest, folder)  # the grid may be moved
    write_json(folder / JOB, {"config": digest, "label": label, "pin": pin})


def shared_manifest(grid: Path, data: DataConfig) -> Path:
    """Returns where the jobs of a grid that ask for the same split have it written down."""
    fold = "" if data.fold is None else f"{OF_FOLD}{data.fold}"
    settings = json.dumps(content(data, only=SPLIT) | {"fold": None}, sort_keys=True, allow_nan=False)
    return grid / f"manifest_{hashlib.sha256(settings.encode()).hexdigest()[:8]}{fold}.csv"


def pin_of(folder: Path) -> Path | None:
    """Returns the manifest that a grid's job shares with others; None of a run by itself."""
    pin = read_json(folder / JOB).get("pin")
    return Path(os.path.normpath(folder / pin)) if pin else None


def audit_of(folder: Path) -> Path:
    """Returns the folder of the audit of a run's images: its own, or the one that a grid's job shares with others.

    All folds share the one of the first that ran.
    """
    pin = pin_of(folder)
    name = pin.stem.partition(OF_FOLD)[0].replace("manifest", "audit") if pin else ""
    return pin.with_name(name) if pin else folder / "audit"


def diverged(folder: Path) -> DivergedError | None:
    """Returns how the run in ``folder`` diverged: the same settings would do so again; None: it did not."""
    return divergence_of(read_metrics(folder))


def is_ended(folder: Path) -> bool:
    """Says whether there is nothing left to train in ``folder``: it is finished, or diverged."""
    return is_finished(folder) or diverged(folder) is not None


def has_result(folder: Path) -> bool:
    """Says whether the run in ``folder`` has a place in a table, if only with the epochs that a budget gave it."""
    return has_scores(folder) or diverged(folder) is not None


def holds_run(folder: Path) -> bool:
    """Says whether something was trained in ``folder``."""
    return (folder / "metrics.json").is_file() or (folder / "checkpoints").is_dir()


def refuse_used(folder: Path) -> None:
    """Raises SeedsweepError where something was trained in the folder of a run that is to begin."""
    if holds_run(folder):
        raise SeedsweepError(
            f"{folder} holds a run already: give another hydra.run.dir; {typed(('resume', folder))} goes on with it."
        )


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
    path.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    return path


def write_failure(folder: Path, experiment: str, seed: int, label: str, reason: str) -> None:
    """Notes why a job of a grid has no result."""
    write_json(
        folder / "failure.json", {"reason": reason, "label": label, "experiment": experiment, "seed": seed}
    )


def write_task(
    folder: Path, task: str, label: str, *, ended: bool, study: Path | None, is_main: bool
) -> None:
    """Notes what a job of a grid does that trains no run of its own, and whether it came to its end."""
    note = {"label": label, "task": task, "ended": ended}
    write_json(folder / JOB, note | ({"study": str(study), "leads": is_main} if study else {}))
