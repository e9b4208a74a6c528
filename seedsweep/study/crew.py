"""Several worker processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna

from seedsweep import disk, signals
from seedsweep.config.location import cache_of
from seedsweep.errors import USER_ERROR, DiskError, SeedsweepError
from seedsweep.study import process
from seedsweep.study.finalists import lay_finals
from seedsweep.study.leases import Leases
from seedsweep.study.plan import Plan
from seedsweep.study.worker import POLL, REAP_EVERY, unfinished

log = logging.getLogger(__name__)

MARK = "seedsweep: "  # before the sentence with which a process ends
RESTARTS = 5  # a worker that a slot kills each time must not be begun for ever


class Crew:
    """Worker processes: the same command line, with ``study.job`` set; killed ones are replaced.

    Args:
        plan: the study.
        command: overrides and options that this process was called with.
    """

    def __init__(self, plan: Plan, command: list[str]) -> None:
        self.plan = plan
        self.command = command
        self.size = plan.config.study.workers
        self._threads = process.share(self.size)
        self._running: dict[int, BaseProcess] = {}
        self._restarts = 0
        self._logged: dict[int, int] = {}  # bytes of each worker's log before it began
        self._go: list[Connection] = []  # for each worker that is held

    def hold(self) -> None:
        """Begins the workers: they read their settings, find the images, and wait for :meth:`work`.

        What all of them would do otherwise, to draw images and prove that they can be read, must be done already.
        """
        for number in range(1, self.size + 1):
            if number not in self._running:
                held, go = multiprocessing.Pipe(duplex=False)
                self._go.append(go)
                with held:
                    self._begin(number, held)

    def work(self, study: optuna.Study, told: Callable[[optuna.Study], None]) -> optuna.Study:
        """Lets the workers run trials and finals to their end; returns the finals.

        Raises:
            SeedsweepError: the workers can't work.
            KeyboardInterrupt: the user stopped the study; call :meth:`end`.
        """
        self.hold()
        for go in self._go:
            with suppress(OSError):  # it was killed, and is replaced below
                go.send_bytes(b"go")
        self._watch(study, told)
        finals = lay_finals(study, self.plan)
        self._watch(finals, told)
        return finals

    def end(self) -> None:
        """Stops what still runs; a worker gives its trial back on the way."""
        for go in self._go:
            go.close()
        try:
            for worker in self._running.values():
                if worker.pid and worker.exitcode is None:
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGINT)
            end = time.monotonic() + 30
            for worker in self._running.values():
                worker.join(max(0.1, end - time.monotonic()))
        finally:  # also after a second Ctrl-C
            for worker in self._running.values():
                if worker.exitcode is None:
                    worker.kill()  # its trial is found by the next call

    def _watch(self, study: optuna.Study, told: Callable[[optuna.Study], None]) -> None:
        leases = Leases(study, self.plan.folder, self.plan.config.study.grace)
        leases.reap(other_machines=False, blame=False)
        looked = time.monotonic()
        while unfinished(study):
            signals.check()
            if time.monotonic() - looked > REAP_EVERY or self._replace_dead():
                leases.reap(other_machines=True)
                looked = time.monotonic()
            told(study)
            time.sleep(POLL)
        told(study)

    def _begin(self, number: int, held: Connection | None = None) -> None:
        folder = self.plan.folder / "workers"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number:03d}.log"
        self._logged[number] = path.stat().st_size if path.is_file() else 0
        self._running[number] = process.begin(
            [
                *self.command,
                "study.workers=1",
                f"study.job={number}",
                "hydra.mode=RUN",
            ],
            path,
            self._threads,
            held,
        )

    def _replace_dead(self) -> bool:
        """Begins a worker anew that ended before the work did; returns whether there was one."""
        dead = [number for number, worker in self._running.items() if worker.exitcode is not None]
        for number in dead:
            code = self._running.pop(number).exitcode
            self._restarts += 1
            path = self.plan.folder / "workers" / f"{number:03d}.log"
            if code == USER_ERROR:  # another one would meet the same
                raise self._why_refused(path, self._logged[number])
            if self._restarts > RESTARTS * self.size:
                raise SeedsweepError(
                    f"the study's workers end again and again (status {code}): see {path} ({_last_line(path)})."
                )
            log.warning("worker %d ended (status %d); another one takes its place", number, code)
            self._begin(number)
        return bool(dead)

    def _why_refused(self, path: Path, start: int) -> SeedsweepError:
        said = _last_line(path, start)
        if said.startswith(MARK):
            return SeedsweepError(said.removeprefix(MARK))
        # it always says why: its log can't be written, as little as what it was about to write
        return DiskError(disk.unwritten(disk.places_of(self.plan.folder, cache_of(self.plan.config))))


def _last_line(path: Path, start: int = 0) -> str:
    lines = path.read_bytes()[start:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing was printed"
