"""The folder of a grid: its own, and under the same name in every process."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard

from omegaconf import OmegaConf, open_dict

from seedsweep.errors import DamagedError
from seedsweep.overrides import setting
from seedsweep.runs.job_record import JOB
from seedsweep.runs.recorded import COPY, GRID
from seedsweep.whole import read_json

CLOCK = "${now:"


def settle(hydra: Any) -> Path:
    """Makes the grid's folder and writes its full path into Hydra's config, for the jobs' processes.

    A folder named after the clock is made anew: of two grids begun in the same second, one gets ``..._2``.

    Args:
        hydra: the part of the composed config, changed in place.

    Returns:
        The folder, absolute.
    """
    named_by_clock = CLOCK in str(OmegaConf.to_container(hydra.sweep, resolve=False))
    wanted = Path(hydra.sweep.dir).absolute()
    folder = _new(wanted) if named_by_clock else wanted
    folder.mkdir(parents=True, exist_ok=True)
    with open_dict(hydra):
        hydra.sweep.dir = str(folder)
        # each job composes its config again
        hydra.overrides.hydra.append(setting("hydra.sweep.dir", str(folder)))
    return folder


def _new(wanted: Path) -> Path:
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
        with suppress(DamagedError):  # told by the table
            if read_json(path).get("task"):
                return True
    return False
