"""What the store holds, and what must go when it grows over its budget."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seedsweep.features.shards import is_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """One space of the store; ``used`` is seconds since 1970."""

    folder: Path
    about: dict[str, Any]
    views: int
    images: int
    n_bytes: int
    used: float


def held(root: Path) -> list[Held]:
    """Lists the spaces, the most recently used first."""
    found = []
    for folder in root.glob("*"):
        if not folder.is_dir():
            continue
        note = folder / "space.json"
        try:
            about, used = json.loads(note.read_text()), note.stat().st_mtime
        except (OSError, ValueError):
            about, used = {}, 0.0
        arrays = list(folder.glob("*/*.npy"))
        counts = [_count(path) for path in arrays]
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        found.append(
            Held(folder, about, len({path.parent for path in arrays}), sum(counts), sum(sizes), used)
        )
    return sorted(found, key=lambda space: -space.used)


def enforce(root: Path, budget_gib: float, keep: Path) -> None:
    """Removes the least recently used spaces until the rest fits; never ``keep``, nor one being written."""
    spaces = held(root)
    total = sum(space.n_bytes for space in spaces)
    for space in reversed(spaces):
        if total <= budget_gib * 2**30:
            return
        if space.folder != keep and remove(space.folder):
            total -= space.n_bytes
            log.info(
                "features: removed %s (%.2f GiB), the least recently used, to stay within features.budget_gib",
                space.folder.name,
                space.n_bytes / 2**30,
            )


def remove(folder: Path) -> bool:
    """Removes a space; returns False if a process is extracting into it."""
    locks = [FileLock(path) for path in folder.glob("*/.lock")]
    taken: list[FileLock] = []
    try:
        for lock in locks:
            lock.acquire(timeout=0)
            taken.append(lock)
        shutil.rmtree(folder)
    except Timeout:
        return False
    finally:
        for lock in taken:
            lock.release()
    return True


def damaged(folder: Path) -> list[Path]:
    """Compares every array of a space with its digest; returns those that differ or lack one."""
    bad = []
    for path in sorted(folder.glob("*/*.npy")):
        try:
            digest = str(json.loads(path.with_suffix(".json").read_text())["sha256"])
            if not is_whole(path, digest, again=True):
                bad.append(path)
        except (OSError, ValueError, KeyError, TypeError):
            bad.append(path)
    return bad


def _count(path: Path) -> int:
    try:
        return len(json.loads(path.with_suffix(".json").read_text())["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
