"""Runs the jobs of a grid one after another, and says how long the others will take; with a budget, in an order that
gives each arm a result early.

Half of the time is for one run of each arm, the cheapest first, each with an equal share of what is left of that half.
Then the runs that were cut short go on, and then come further seeds. While time is short, an arm that can't come up to
the best one any more gets none. Successive halving (Jamieson and Talwalkar 2016) ends half of the arms in each round;
here the intervals say which ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedsweep import signals
from seedsweep.cli.forecast import CLOSING, Forecast, Job
from seedsweep.errors import DamagedError
from seedsweep.runs.duration import Clock, spoken
from seedsweep.runs.grid import ArmRow, arms, by_data, collect
from seedsweep.runs.jobs import is_ended
from seedsweep.runs.record import TIME, early_of, has_scores, read_metrics
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.time_given import TimeGiven
from seedsweep.session import Session
from seedsweep.training.limit import FEWEST, STEADY, Rival, RunLimit, reachable

ROOM = 1.1  # what is forecast to take less than this share of the time does not make it short


@dataclass
class GridClock:
    """Stands in the place of a grid's launcher, which runs each job when it is told to."""

    launcher: Any  # Hydra's, of jobs in this process
    jobs: Sequence[Job]  # of the grid
    forecast: Forecast  # of them
    clock: Clock  # of the whole call
    folder: Path  # of the grid
    session: Session  # of the jobs: their limit is put there
    dropped: dict[str, str] = field(default_factory=dict)  # arms that get no further run, and why
    _asked_for: list[str] = field(default_factory=list)  # labels of the runs that were to go
    _returns: list[Any] = field(default_factory=list)  # of the jobs, in which Hydra keeps their errors
    _took: float = 0.0
    _expected: float = 0.0
    _begun: set[str] = field(default_factory=set)  # arms that did what they do once
    _opened: bool = False

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        """Runs the jobs; called by Hydra's sweeper, with all of them at once."""
        self._asked_for = [job.label for job in self.jobs if not self._is_ended(job)]
        if not self.clock.ends:
            for job in self.jobs:
                self._say_left([each for each in self.jobs[job.number :] if not self._is_ended(each)])
                self._run(job)
            return self._returns
        try:
            with signals.alarm(self._left()) as alarm:
                self._in_rounds()
        except KeyboardInterrupt:
            if not alarm.rang:
                raise
            print("\nthe budget is spent: what was under way is stopped", flush=True)
        limit = self.session.of(RunLimit)
        limit.until, limit.ending, limit.rival = math.inf, 0.0, None
        return self._returns

    def _in_rounds(self) -> None:
        first = {job.label: job for job in reversed(self.jobs)}
        waiting = sorted(
            first.values(), key=lambda job: (job.label in self.forecast.unknown, self._cost(job, None))
        )
        until = time.monotonic() + self._left() / 2
        for place, job in enumerate(waiting):
            if not self._is_ended(job):
                share = (until - time.monotonic()) / (len(waiting) - place)
                self._within(job, share)
        stuck = set[int]()  # a run that fails when it goes on, or that begins anew and comes no further
        while cut := [job for job in self._going_on() if self._has_scores(job) and job.number not in stuck]:
            before = self._epochs(cut[0])
            if not self._within(cut[0], self._left() / len(cut)) or self._epochs(cut[0]) <= before:
                stuck.add(cut[0].number)
        later = [job for job in self.jobs if job is not first[job.label]]
        for job in sorted(later, key=lambda job: (self._place(job), self._cost(job, None))):
            if not self._is_ended(job) and job.label not in self._out():
                self._within(job, math.inf, whole=True)

    def _place(self, job: Job) -> int:
        """Returns which of its arm's runs a job is."""
        return [each.number for each in self.jobs if each.label == job.label].index(job.number)

    def _within(self, job: Job, seconds: float, *, whole: bool = False) -> bool:
        """Runs a job in so many seconds, if at least an epoch of it fits; with ``whole``, if all of it does."""
        left, is_short = self._left(), self._is_short()
        fits = self._cost(job, None if whole else 1) <= left
        # else nothing has run yet, and the forecast may be wrong
        if not fits and (self._opened or left <= 0):
            return False
        limit = self.session.of(RunLimit)
        # not less for its epochs than for all else, nor less than one epoch
        least = max(self._cost(job, 1), min(2 * self._cost(job, 0), self._cost(job, None)))
        seconds = max(seconds, least) if is_short else math.inf
        limit.until = time.monotonic() + min(left, seconds)
        pace = self.forecast.paces.get(job.label)
        limit.ending = self._scale() * (self.forecast.pictures + (pace.ending if pace else 0.0))
        best = self._best() if is_short else None
        limit.rival = best if best and best.name != job.label else None
        self._say_left(
            [each for each in self.jobs if not self._is_ended(each) and each.label not in self.dropped]
        )
        self._run(job)
        return True

    def _run(self, job: Job) -> None:
        started, ended = time.monotonic(), self._is_ended(job)
        before = self._epochs(job)
        self._returns += self.launcher.launch([job.lines], job.number)
        if not ended and self._has_scores(job):
            self._took += time.monotonic() - started
            self._expected += self._forecast_of(job, max(0, self._epochs(job) - before))
        self._begun.add(job.label)
        self._opened = True

    def _forecast_of(self, job: Job, epochs: int | None) -> float:
        once = self.forecast.once([*self._begun, job.label]) - self.forecast.once(self._begun)
        opening = 0.0 if self._opened else self.forecast.opening
        return opening + once + self.forecast.run(job.label, epochs)

    def _cost(self, job: Job, epochs: int | None) -> float:
        """Returns what a job takes with so many epochs (None: all), by the forecast and by what others took."""
        return self._scale() * self._forecast_of(job, epochs)

    def _scale(self) -> float:
        """Returns how much slower than forecast the runs so far were."""
        return min(5.0, max(0.5, self._took / self._expected)) if self._expected > 1 else 1.0

    def _left(self) -> float:
        """Returns the seconds that runs have."""
        return self.clock.left - self._scale() * self.forecast.closing - CLOSING * self.clock.seconds

    def _needed(self, jobs: Sequence[Job]) -> float:
        labels = [job.label for job in jobs]
        once = self.forecast.once([*self._begun, *labels]) - self.forecast.once(self._begun)
        return self._scale() * (once + sum(map(self.forecast.run, labels)))

    def _is_short(self) -> bool:
        to_go = [job for job in self.jobs if not self._is_ended(job) and job.label not in self.dropped]
        unknown = any(job.label in self.forecast.unknown for job in to_go)
        return unknown or self._needed(to_go) * ROOM > self._left()

    def _say_left(self, to_go: Sequence[Job]) -> None:
        if len(to_go) > 1 and self._expected and self.forecast.paces:
            needed = self._needed(to_go) + self._scale() * self.forecast.closing
            left = f", the budget {spoken(max(0.0, self.clock.left))}" if self.clock.ends else ""
            # no log line: between two jobs Hydra lets none pass
            print(f"\ntime left  {len(to_go)} runs need about {spoken(needed)}{left}", flush=True)

    def _going_on(self) -> list[Job]:
        """Returns the jobs that were cut short, of arms that can still come up to the best, the best arm's first."""
        out = self._out()
        rows = {row.label: row.mean or 0.0 for row in self._rows()[0]}
        found = [job for job in self.jobs if not self._is_ended(job) and job.label not in out]
        found = [job for job in found if self._cost(job, 1) <= self._left()]
        return sorted(found, key=lambda job: -rows.get(job.label, 0.0))

    def _rows(self) -> tuple[list[ArmRow], dict[str, list[RunResult]]]:
        results = collect(self.folder)
        of_arm: dict[str, list[RunResult]] = {}
        for result in results:
            of_arm.setdefault(result.label, []).append(result)
        return arms(results), of_arm

    def _best(self) -> Rival | None:
        groups = by_data(self._rows()[0])
        # of several data sets the next job's is not known yet
        best = groups[0][0] if len(groups) == 1 else None
        if best is None or best.over:  # over folds it is judged by other images than a run is while it trains
            return None
        return Rival(best.label, best.standing.interval.low) if best.standing else None

    def _out(self) -> dict[str, str]:
        """Returns the arms that get no further run, each with the reason; none is added while there is time for all."""
        if not self._is_short():
            return self.dropped
        rows, of_arm = self._rows()
        for best, row in ((group[0], row) for group in by_data(rows) for row in group[1:]):
            found, runs = row.standing, of_arm[row.label]
            if row.label in self.dropped or found is None or found.same is not False or found.behind is None:
                continue
            if any(
                early_of(run.metrics).get("why") == TIME and not self._is_hopeless(run, best) for run in runs
            ):
                continue
            self.dropped[row.label] = (
                f"{found.behind.difference.value * 100:.1f} points behind {best.label} (95 % interval "
                f"{found.behind.difference.low * 100:.1f} to {found.behind.difference.high * 100:.1f})"
            )
        return self.dropped

    def _is_hopeless(self, run: RunResult, best: ArmRow) -> bool:
        """Says whether a run that was cut short would stay below the best arm at the pace of its last epochs."""
        switches = run.switches
        if best.over or switches is None or switches.optim.schedule not in STEADY or best.standing is None:
            return False
        history = [row["val/acc"] for row in run.history]
        if len(history) < FEWEST or "val" not in run.predictions:
            return False
        val = run.predictions["val"]
        n = len(val.paths) if val.groups is None else len(set(val.groups.tolist()))
        return reachable(history, switches.trainer.max_epochs, n) < best.standing.interval.low

    def _folder(self, job: Job) -> Path | None:
        return next(iter(self.folder.glob(f"{job.number}_*")), None)

    def _is_ended(self, job: Job) -> bool:
        return self._asked(job, is_ended)

    def _has_scores(self, job: Job) -> bool:
        return self._asked(job, has_scores)

    def _asked(self, job: Job, question: Any) -> bool:
        folder = self._folder(job)
        try:
            return folder is not None and bool(question(folder))
        except DamagedError:
            return False

    def _epochs(self, job: Job) -> int:
        folder = self._folder(job)
        return int(read_metrics(folder).get("epochs") or 0) if folder and self._has_scores(job) else 0

    def summary(self, took: float) -> TimeGiven:
        """Returns what the grid's folder keeps of its time; ``took``: seconds, without the measuring."""
        without = [job for job in self.jobs if not self._asked(job, lambda f: is_ended(f) or has_scores(f))]
        seeds: dict[str, list[int]] = {}
        for job in without:
            if not ((folder := self._folder(job)) and (folder / "failure.json").is_file()):
                seeds.setdefault(job.label, []).append(job.seed)
        trained, wanted = 0, 0
        for job in self.jobs:
            pace = self.forecast.paces.get(job.label)
            if pace and self._has_scores(job) and not self._asked(job, lambda f: early_of(read_metrics(f))):
                trained, wanted = trained + self._epochs(job), wanted + pace.epochs
        return TimeGiven(
            took=self.clock.took if self.clock.ends else took,
            forecast=None if self.forecast.unknown else self.forecast.total(self._asked_for),
            budget=self.clock.seconds if self.clock.ends else None,
            not_run=seeds if self.clock.ends else {},
            dropped=self.dropped,
            spared=(wanted - trained, wanted),
        )
