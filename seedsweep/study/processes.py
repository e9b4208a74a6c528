"""The worker processes of a study on this machine.

They are plain processes and no ``ProcessPoolExecutor``: one killed process breaks such a pool with all its workers,
and here the others go on.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna

from seedsweep import cores, disk, signals
from seedsweep.errors import USER_ERROR, SeedsweepError
from seedsweep.session import Session
from seedsweep.study.leases import Leases
from seedsweep.study.plan import Plan
from seedsweep.study.reevaluation import add_again
from seedsweep.study.worker import POLL, REAP_EVERY, join_study, unfinished

log = logging.getLogger(__name__)

RESTARTS = 5  # of each worker: a trial may kill one after the other
END_WITHIN = 30.0  # seconds that workers have to give their trials back
FORKS = sys.platform == "linux"  # elsewhere system libraries don't survive a fork


def share(workers: int) -> int:
    """Returns the threads that each of ``workers`` may compute with (see ``seedsweep/cores.py``)."""
    return max(1, cores.count() // workers)


def preload(workers: int) -> None:
    """Starts the server of which workers are forked; it imports in the background, once for all of them."""
    if not FORKS:
        return
    _context().set_forkserver_preload(["seedsweep.study.main_process", "seedsweep.training.run"])
    resource_tracker.ensure_running()  # the server would start it, and it unblocks SIGINT
    before = dict(os.environ)
    # some libraries read their number of threads once, when they are loaded
    os.environ.update(dict.fromkeys(cores.NAMES, str(share(workers))))
    try:
        with signals.blocked():  # a Ctrl-C must not end the server in the midst of its imports
            forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


class Workers:
    """Processes that work on a study; killed ones are replaced.

    Args:
        plan: the study; where its images are known, the workers don't look for them again.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.size = plan.study.workers
        self._running: dict[int, tuple[BaseProcess, Connection]] = {}
        self._restarts = 0

    def work(self, study: optuna.Study, progress: Callable[[optuna.Study], None]) -> optuna.Study:
        """Runs trials and re-evaluation to their end; returns the latter. Call :meth:`end` after it."""
        preload(self.size)
        for number in range(1, self.size + 1):
            self._begin(number)
        self._watch(study, progress)
        again = add_again(study, self.plan)
        self._watch(again, progress)
        return again

    def end(self) -> None:
        """Stops what still runs; a worker gives its trial back on the way."""
        processes = [process for process, _ in self._running.values()]
        try:
            for process in processes:
                process.terminate()
            end = time.monotonic() + END_WITHIN
            for process in processes:
                process.join(max(0.1, end - time.monotonic()))
        finally:  # also after a second Ctrl-C
            for process in processes:
                process.kill()  # its trial is found by the next call

    def _watch(self, study: optuna.Study, progress: Callable[[optuna.Study], None]) -> None:
        leases = Leases(study, self.plan.folder, self.plan.study.grace)
        leases.reap(other_machines=False, blame=False)
        looked = time.monotonic()
        while unfinished(study):
            signals.check()
            if time.monotonic() - looked > REAP_EVERY or self._replace_dead():
                leases.reap(other_machines=True)
                looked = time.monotonic()
            progress(study)
            time.sleep(POLL)
        progress(study)

    def _begin(self, number: int) -> None:
        path = self._log(number)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        study = replace(self.plan.study, job=number, workers=1)
        plan = replace(self.plan, study=study, session=Session())
        failed, fails = multiprocessing.Pipe(duplex=False)
        arguments = (plan, path, share(self.size), dict(os.environ), fails)
        process = _context().Process(target=_run, args=arguments)
        try:
            with fails:
                process.start()
        except (EOFError, OSError) as error:  # the server was killed, or there is no room for another process
            raise SeedsweepError(
                f"no worker process can be started ({error or type(error).__name__})."
            ) from error
        self._running[number] = process, failed

    def _replace_dead(self) -> bool:
        """Begins a worker anew that ended before the work did; returns whether there was one."""
        dead = [number for number, (process, _) in self._running.items() if process.exitcode is not None]
        for number in dead:
            process, failed = self._running.pop(number)
            if process.exitcode == USER_ERROR:  # another one would meet the same
                raise SeedsweepError(failed.recv())
            self._restarts += 1
            if self._restarts > RESTARTS * self.size:
                path = self._log(number)
                lines = path.read_text(errors="replace").split("\n")
                last = next((line for line in reversed(lines) if line), "nothing was printed")
                raise SeedsweepError(
                    f"the study's workers end again and again (status {process.exitcode}): see {path} ({last})."
                )
            log.warning("worker %d ended (status %d); another one takes its place", number, process.exitcode)
            self._begin(number)
        return bool(dead)

    def _log(self, number: int) -> Path:
        return self.plan.folder / "workers" / f"{number:03d}.log"


def _context() -> multiprocessing.context.ForkServerContext | multiprocessing.context.SpawnContext:
    return multiprocessing.get_context("forkserver") if FORKS else multiprocessing.get_context("spawn")


def _run(plan: Plan, path: Path, threads: int, environment: dict[str, str], fails: Connection) -> None:
    """Works as a process of its own, which does not outlive the main process.

    Args:
        environment: of the main process; the server may be older.
        fails: gets the sentence with which the process ends with ``USER_ERROR``.
    """
    if FORKS:
        os.setsid()  # Ctrl-C reaches the main process alone, which ends the workers
        signals.unblock()
    with path.open("ab") as file, open(os.devnull, "rb") as nothing:
        for number, stream in enumerate((nothing, file, file)):
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    # else loaders of batches were forks of the server, too
    multiprocessing.set_start_method(None, force=True)
    cores.limit(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("optuna").setLevel(logging.WARNING)
    threading.Thread(target=_end_with_main, daemon=True).start()
    with signals.heard(to_the_end=True) as stop:
        try:
            join_study(plan)
        except KeyboardInterrupt:
            sys.exit(stop.code)
        except Exception as error:
            if stop.number:  # what a library made of the interruption
                sys.exit(stop.code)
            places = disk.places_of(plan.folder, plan.asked.cache_dir)
            sentence = str(error) if isinstance(error, SeedsweepError) else disk.sentence(error, places)
            if sentence is None:
                raise
            fails.send(sentence)
            sys.exit(USER_ERROR)


def _end_with_main() -> None:
    if (main := multiprocessing.parent_process()) is not None:
        main.join()
        os._exit(1)  # its trial is taken over as that of any dead worker
