"""Lists what the store of features holds, and removes what was not used for longest when it is over its budget."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seedsweep.errors import SeedsweepError
from seedsweep.features.feature_store import INDEX, LOCK

log = logging.getLogger(__name__)

REMOVED = ".removed"  # ends the name of a space that is being deleted


@dataclass(frozen=True)
class StoredSpace:
    """One space of the store; ``used`` is seconds since 1970."""

    folder: Path
    about: dict[str, Any]
    views: int
    images: int
    n_bytes: int
    used: float


def spaces_in(root: Path) -> list[StoredSpace]:
    """Lists the spaces, the most recently used first."""
    found = []
    for folder in root.glob("*"):
        if not folder.is_dir():
            continue
        if folder.suffix == REMOVED:  # of a process that was killed while deleting
            shutil.rmtree(folder, ignore_errors=True)
            continue
        note = folder / "space.json"
        try:
            about, used = json.loads(note.read_text()), note.stat().st_mtime
        except (OSError, ValueError):
            about, used = {}, 0.0
        arrays = list(folder.glob("*/*.npy"))
        rows = sum(len(_index(path).get("images", ())) for path in arrays)
        n_bytes = sum(_size(path) for path in folder.rglob("*"))
        found.append(StoredSpace(folder, about, len({path.parent for path in arrays}), rows, n_bytes, used))
    return sorted(found, key=lambda space: -space.used)


def enforce(root: Path, budget_gib: float, keep: Path) -> None:
    """Removes the least recently used spaces until the rest fits; never ``keep``, nor one being written."""
    spaces = spaces_in(root)
    total = sum(space.n_bytes for space in spaces)
    for space in reversed(spaces):
        if total <= budget_gib * 2**30:
            return
        try:
            gone = space.folder != keep and remove(space.folder)
        except SeedsweepError as error:  # the run itself needs nothing of it
            log.warning("features: %s", error)
            continue
        if gone:
            total -= space.n_bytes
            log.info(
                "features: removed %s (%.2f GiB), the least recently used, to stay within features.budget_gib",
                space.folder.name,
                space.n_bytes / 2**30,
            )


def remove(folder: Path) -> bool:
    """Removes a space; returns False if a process is extracting into it.

    The folder changes its name first: a process that looks for features meanwhile finds all of them or none, and one
    that has opened them reads on.
    """
    taken: list[FileLock] = []
    try:
        # the space's own first: no process can begin a view while it is held
        for path in (folder / LOCK, *sorted(folder.glob(f"*/{LOCK}"))):
            lock = FileLock(path)
            lock.acquire(timeout=0)
            taken.append(lock)
        doomed = folder.with_name(f"{folder.name}-{time.time_ns()}{REMOVED}")
        os.replace(folder, doomed)
        shutil.rmtree(doomed)
    except Timeout:
        return False
    except FileNotFoundError:  # another process removes it
        return not folder.exists()
    except OSError as error:
        raise SeedsweepError(f"{folder} can't be removed ({error.strerror or error}).") from error
    finally:
        for lock in taken:
            lock.release()
    return True


def _index(array: Path) -> dict[str, Any]:
    """Returns the index beside an array; empty where it is gone or damaged."""
    try:
        content = json.loads(array.with_suffix(INDEX).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("images"), list) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # removed by another process
        return 0
