"""Names processes so that no other one has the same name, whatever the machine's clock does."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

PROC = Path("/proc")
STARTED = 22 - 3  # field of /proc/PID/stat, counted from behind the name, which may hold spaces


@cache
def host() -> str:
    """Names the machine since it was started, and the container on it.

    Equal process ids in two containers, or before and after a restart, are two processes.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append((PROC / "sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str((PROC / "self/ns/pid").stat().st_ino))
    return "/".join(parts)


def me() -> dict[str, Any]:
    """Names this process."""
    return {"host": host(), "pid": os.getpid(), "born": _born(os.getpid())}


def is_gone(named: dict[str, Any]) -> bool:
    """Says whether a process that :func:`me` named has ended; of another machine's nothing is known: False."""
    if named["host"] != host():
        return False
    try:
        pid = int(named["pid"])
        return _born(pid) != named["born"] or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OSError):
        return True


def _born(pid: int) -> int | float:
    """Returns when a process began, a number that stays the same while it lives.

    On Linux the kernel's ticks since the machine was started, for psutil's seconds there are reckoned from the clock,
    and move with it. macOS and Windows keep the time that the clock showed when the process began, which psutil
    returns as it is.

    Raises:
        OSError: there is no such process.
        psutil.NoSuchProcess: likewise.
    """
    if not (PROC / "self/stat").is_file():
        return psutil.Process(pid).create_time()
    fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[STARTED])
