"""Whether a grid can go on with the images it began with, asked before any of its jobs begins."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from seedsweep.config.schema import Config
from seedsweep.data.manifest import Row
from seedsweep.data.pin import Pin, check_content, read_pin
from seedsweep.digest import digest_of
from seedsweep.errors import DamagedError
from seedsweep.names import path_of
from seedsweep.runs.job_record import JOB, is_finished, shared_manifest
from seedsweep.runs.naming import count, varied
from seedsweep.training.identity import digest
from seedsweep.whole import read_json


def check_pin(grid: Path, config: Config, checked: set[Path]) -> None:
    """Compares the images of a job with those that the grid began with; nothing if there is no job to go.

    Args:
        grid: its folder, which a new grid does not have yet.
        config: of the job.
        checked: manifests that were compared already; this one is added.

    Raises:
        RefusedError: images are missing or have another content.
    """
    path = shared_manifest(grid, config.data)
    if config.data.root is None or path in checked or not path.is_file() or not _is_wanted(grid, config):
        return
    checked.add(path)
    root, pin = path_of(config.data.root).resolve(), Pin.of_grid(path)
    rows = read_pin(pin, root)
    print(f"comparing {len(rows)} images below {root} with {path}", flush=True)  # before Hydra sets up a log
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda row: _digest(root, row), rows))
    check_content(pin, rows, root, digests)


def _digest(root: Path, row: Row) -> str:
    try:
        return digest_of(root / row.path)
    except OSError:
        return ""


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
    return digest(config) not in done or len(list(grid.glob("manifest_*.csv"))) == 1
