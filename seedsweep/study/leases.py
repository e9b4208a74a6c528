"""Who works on which trial, and what becomes of a trial whose worker died.

A study's trials are added beforehand, as WAITING ones, and a worker takes one. Its name stands in the trial, and a
number that it changes while it lives. A trial whose process is gone goes back to WAITING with the settings it had, and
is run again: none is lost, none done twice. Optuna's own heartbeats do this for its RDB storage alone, and file the
trial as failed.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from seedsweep.study.storage import storage_of

log = logging.getLogger(__name__)

WORKER, ALIVE, NUMBER = "worker", "alive", "slot"  # attributes of a trial
DEATHS = 3  # of its workers, after which a trial is given up
UNSIGNED = 15.0  # seconds that a worker on another machine may take between taking a trial and signing it
PROC = Path("/proc")
STARTED = 22 - 3  # field of /proc/PID/stat, counted from behind the name, which may hold spaces


class Leases:
    """Takes, gives back and takes over trials of one study.

    Args:
        study: its trials are WAITING, or taken.
        folder: of the study; a lock in it keeps the workers of this machine apart while they take and reap.
        grace: seconds without a sign of life after which another machine's worker counts as dead.
    """

    def __init__(self, study: optuna.Study, folder: Path, grace: float) -> None:
        self.study = study
        self.storage = storage_of(study)
        self._study_id = self.storage.get_study_id_from_name(study.study_name)
        self.grace = grace
        self._lock = FileLock(folder / "claims.lock")
        # other machines' trials: last sign of life, and when we saw it
        self._seen: dict[int, tuple[Any, float]] = {}

    def claim(self, sampler: Callable[[int], BaseSampler]) -> Trial | None:
        """Takes the first waiting trial; None if there is none."""
        with self._lock:
            for waiting in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                trial_id = self._id(waiting)
                with suppress(UpdateFinishedTrialError):
                    if self.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                        self.storage.set_trial_user_attr(trial_id, WORKER, me())
                        self.study.sampler = sampler(int(waiting.user_attrs[NUMBER]))
                        return Trial(self.study, trial_id)
        return None

    def give_back(self, trial: Trial) -> None:
        """Lets another worker run a trial: this one was told to stop."""
        with self._lock:
            self._put_back(trial)

    def reap(self, *, other_machines: bool, blame: bool = True) -> int:
        """Puts trials of dead workers back.

        Args:
            blame: a trial that took DEATHS workers with it (its memory, most likely) is filed as failed. False
                where the whole study was stopped.
            other_machines: also those whose worker elsewhere gave no sign of life for ``grace`` seconds. Only one
                process of a study may ask for that: the lock does not reach other machines.

        Returns:
            How many.
        """
        if not self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            return 0
        reaped = 0
        with self._lock:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                worker = trial.user_attrs.get(WORKER)
                if not self._is_lost(trial, worker, other_machines):
                    continue
                log.warning(
                    "trial %s: its worker (%s) is gone; it will be run again",
                    trial.user_attrs.get(NUMBER, trial.number),
                    f"process {worker['pid']} on {worker['host']}" if worker else "killed while taking it",
                )
                trial_id = self._id(trial)
                deaths = int(trial.user_attrs.get("deaths", 0)) + blame
                self.storage.set_trial_user_attr(trial_id, "deaths", deaths)
                if deaths >= DEATHS:
                    reason = f"its worker was killed {deaths} times, perhaps for want of memory"
                    self.storage.set_trial_user_attr(trial_id, "reason", reason)
                    self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
                else:
                    self._put_back(trial)
                reaped += 1
        return reaped

    def is_mine(self, trial: Trial) -> bool:
        """Says whether a trial is still this process's: a worker that slept for long may have lost it."""
        kept = self.study.get_trials(deepcopy=False)[trial.number]
        return kept.state == TrialState.RUNNING and kept.user_attrs.get(WORKER) == me()

    def _is_lost(self, trial: FrozenTrial, worker: dict[str, Any] | None, other_machines: bool) -> bool:
        if worker is not None and worker["host"] == host():
            return is_gone(worker)
        if worker is None:
            # taking and signing happen under one lock, so here an unsigned trial's worker is dead; but a
            # database has workers that the lock does not reach
            return isinstance(self.storage, JournalStorage) or self._is_silent(trial, UNSIGNED)
        return other_machines and self._is_silent(trial, self.grace)

    def _put_back(self, trial: Trial | FrozenTrial) -> None:
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(self._id(trial), WORKER, None)
            self.storage.set_trial_state_values(self._id(trial), TrialState.WAITING)

    def _id(self, trial: Trial | FrozenTrial) -> int:
        """Returns what the storage knows a trial by."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)

    def _is_silent(self, trial: FrozenTrial, seconds: float) -> bool:
        """Measures with this machine's clock alone: clocks of two machines differ."""
        sign = (trial.user_attrs.get(WORKER), trial.user_attrs.get(ALIVE))
        last, since = self._seen.get(trial.number, (None, 0.0))
        if last != sign:
            self._seen[trial.number] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > seconds


class Heartbeat:
    """Changes a trial's sign of life while the ``with`` block runs."""

    def __init__(self, trial: Trial, interval: float) -> None:
        self.trial = trial
        self.interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self.trial.set_user_attr(ALIVE, time.monotonic())
            except Exception as error:  # a database that is away for a moment
                log.debug("no sign of life written: %s", error)


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
    """Names this process so that no other one has the same name, whatever the machine's clock does."""
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
    returns as it is. Raises OSError or psutil.NoSuchProcess where there is no such process.
    """
    if not (PROC / "self/stat").is_file():
        return psutil.Process(pid).create_time()
    fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[STARTED])
