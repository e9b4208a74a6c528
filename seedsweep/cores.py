"""How many cores this process may keep busy."""

from __future__ import annotations

import os
import sys

NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # environment variables, read when a library is loaded
SHARE = "SEEDSWEEP_CORES"  # environment variable: the share of this process, and of those that it starts


def count() -> int:
    """Returns the cores that are ours: what the system allows this process, or the share set by ``limit``."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _number(SHARE) or allowed)


def limit(threads: int) -> None:
    """Keeps the computing threads of this process, and of those it starts, to ``threads``.

    Two nets that each compute on all cores wait for one another in busy loops, and both are many times slower.

    Args:
        threads: at least 1; a smaller OMP_NUM_THREADS of the user's own holds.
    """
    share = max(1, min(threads, _number("OMP_NUM_THREADS") or threads))
    for name in (*NAMES, SHARE):
        os.environ[name] = str(share)
    if (torch := sys.modules.get("torch")) is not None:  # loaded already: a worker's second job
        torch.set_num_threads(share)


def wait_asleep() -> None:
    """Lets OpenMP's threads soon sleep where they wait for one another, unless the user said otherwise.

    By default they wait long in busy loops: beside other work, a net on two threads is then many times slower.
    GNU's library reads the number of loops when torch is loaded. None at all would be slower on an idle machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _number(name: str) -> int | None:
    """Returns a number above 0 from the environment; None: there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else None
