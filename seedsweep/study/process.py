"""The processes of a crew's workers: forks of one server, which has imported everything once.

To import torch and Lightning takes a process longer than a trial of a small head takes. The server does it once for
all workers, while their leader extracts features, and a fork of it begins at once.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

from seedsweep import cores

# what a worker imports, together; none of it may start a thread or ask a GPU anything: a fork could use neither
PRELOADED = (
    "seedsweep.cli.preflight",
    "seedsweep.sweep.job",
    "seedsweep.study.lead",
    "seedsweep.training.run",
)
# elsewhere system libraries don't survive a fork: each process imports for itself
FORKS = sys.platform == "linux"
_context = multiprocessing.get_context("forkserver") if FORKS else multiprocessing.get_context("spawn")


def prepare() -> None:
    """Starts the server, which imports in the background; calls after the first do nothing."""
    if FORKS:
        _context.set_forkserver_preload(list(PRELOADED))
        resource_tracker.ensure_running()  # the server would start it, and it lets SIGINT through again
        with _sigint_blocked():
            forkserver.ensure_running()


def begin(command: Sequence[str], log: Path, threads: int) -> BaseProcess:
    """Starts ``python -m seedsweep COMMAND`` as a process of its own, which does not outlive this one.

    Args:
        command: options and overrides.
        log: what it prints is added to this file.
        threads: that it may compute with.
    """
    prepare()
    process = _context.Process(target=_run, args=(list(command), log, threads, Path.cwd(), dict(os.environ)))
    process.start()
    return process


def _run(command: list[str], log: Path, threads: int, folder: Path, environment: dict[str, str]) -> None:
    """Becomes what a shell would have started in ``folder``; the server may be older than both."""
    os.setsid()  # Ctrl-C comes once, from the leader,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and comes even if the leader ignores it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with log.open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    cores.limit(threads)
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    sys.argv = ["seedsweep", *command]
    runpy.run_module("seedsweep", run_name="__main__", alter_sys=True)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Lets what is started inherit a mask: a Ctrl-C must not end the server in the midst of its imports."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with_the_leader() -> None:
    if (leader := multiprocessing.parent_process()) is not None:  # not the server
        leader.join()
        os._exit(1)  # its trial is taken over as that of any dead worker
