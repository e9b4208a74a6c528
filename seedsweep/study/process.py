"""The processes of a crew's workers: forks of one server, which has imported everything once.

To import torch and Lightning takes a process longer than a trial of a small head takes. The server does it once for
all workers, beside their leader, and a fork of it begins at once. Forks that are held read their settings while the
leader makes its engine, find their images, and wait for the features.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from seedsweep import cores, signals
from seedsweep.errors import SeedsweepError

PRELOADED = ("seedsweep.study.preloaded",)
# elsewhere system libraries don't survive a fork: each process imports for itself
FORKS = sys.platform == "linux"
_held: Connection | None = None  # in a worker: what its leader lets it go with
_context = multiprocessing.get_context("forkserver") if FORKS else multiprocessing.get_context("spawn")


def prepare(threads: int) -> None:
    """Starts the server, which imports in the background; calls after the first do nothing.

    Args:
        threads: that each process may compute with; some libraries ask once, when they are loaded.
    """
    if FORKS:
        _context.set_forkserver_preload(list(PRELOADED))
        resource_tracker.ensure_running()  # else the next line but one starts it, and it unblocks SIGINT
        # a Ctrl-C must not end the server in the midst of its imports, nor a SIGTERM to all before its workers' end
        with signals.blocked(), _environment(dict.fromkeys(cores.NAMES, str(threads))):
            forkserver.ensure_running()


def share(workers: int) -> int:
    """Returns the threads that each of ``workers`` may compute with (see ``seedsweep/cores.py``)."""
    return max(1, cores.count() // workers)


def begin(
    command: Sequence[str],
    log: Path,
    threads: int,
    held: Connection | None = None,
) -> BaseProcess:
    """Starts ``python -m seedsweep COMMAND`` as a process of its own, which does not outlive this one.

    To check the command takes half a second: its leader has done so.

    Args:
        command: options and overrides.
        log: what it prints is added to this file.
        threads: that it may compute with.
        held: the process gets ready, and waits at :func:`wait_to_go` for a word that comes here.

    Raises:
        SeedsweepError: the system starts none.
    """
    log.touch()
    environment = dict(os.environ)
    prepare(threads)
    arguments = (list(command), log, threads, Path.cwd(), environment, held)
    process = _context.Process(target=_run, args=arguments)
    try:
        process.start()
    except (EOFError, OSError) as error:  # the server was killed, or there is no room for another process
        raise SeedsweepError(
            f"no worker process can be started ({error or type(error).__name__})."
        ) from error
    return process


def wait_to_go(meanwhile: Callable[[], None]) -> None:
    """Waits until the leader lets this process go, and ends with it; nothing is done where nobody holds it.

    Args:
        meanwhile: what else can be made ready.
    """
    if _held is not None:
        meanwhile()
        try:
            _held.recv_bytes()
        except EOFError:  # no word will come
            os._exit(1)


def _run(
    command: list[str],
    log: Path,
    threads: int,
    folder: Path,
    environment: dict[str, str],
    held: Connection | None = None,
) -> None:
    """Becomes what a shell would have started in ``folder``; the server may be older than both."""
    from seedsweep.cli.main import main

    global _held
    _held = held
    gc.freeze()  # what the server imported stays: looked through by no collection, and so not copied either
    os.setsid()  # Ctrl-C comes once, from the leader,
    with log.open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and comes even if the leader ignores it
    signals.unblock()
    multiprocessing.set_start_method(None, force=True)  # it is this process's own affair how it starts others
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    cores.limit(threads)
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    sys.argv = ["seedsweep", *command]
    sys.exit(main(command, checked=True))


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Lets what is started inherit more variables."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            os.environ.pop(name)
        os.environ.update(before)


def _end_with_the_leader() -> None:
    if (leader := multiprocessing.parent_process()) is not None:  # not the server
        leader.join()
        os._exit(1)  # its trial is taken over as that of any dead worker
