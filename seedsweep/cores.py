"""How many cores this process may keep busy."""

from __future__ import annotations

import os
import sys

NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # environment variables, read when a library is loaded

_share: int | None = None


def count() -> int:
    """Returns the cores that are ours: what the system allows this process, or the share set by ``limit``."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _share or allowed)


def limit(threads: int) -> None:
    """Keeps the computing threads of this process, and of those it starts, to ``threads``.

    Two nets that each compute on all cores do not take turns: their threads spin in wait for one another, and
    both are many times slower.

    Args:
        threads: at least 1; a smaller OMP_NUM_THREADS of the user's own holds.
    """
    global _share
    given = os.environ.get("OMP_NUM_THREADS", "")
    _share = max(1, min(threads, int(given) if given.isdigit() and int(given) > 0 else threads))
    for name in NAMES:
        os.environ[name] = str(_share)
    if (torch := sys.modules.get("torch")) is not None:  # loaded already: a worker's second job
        torch.set_num_threads(_share)
