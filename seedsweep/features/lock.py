"""A folder of the store, held by one process at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

LOCK = ".lock"


@contextmanager
def locked(folder: Path, waiting: str = "") -> Iterator[None]:
    """Makes ``folder`` and holds it; the kernel frees it if this process is killed.

    Args:
        folder: removed by another process meanwhile, it is made again.
        waiting: said once if another process holds it.

    Raises:
        OSError: the folder can't be made or written.
    """
    lock = FileLock(folder / LOCK)
    while not lock.is_locked:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if waiting:
                    log.info(waiting)
                lock.acquire()
        except FileNotFoundError:  # evicted between these lines
            continue
    try:
        yield
    finally:
        lock.release()
