"""What became of a grid's jobs: counted by what they left in their folders, and told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from seedsweep.errors import DamagedError
from seedsweep.runs import job_record as record
from seedsweep.runs.command import command, shown
from seedsweep.runs.grid import job_number
from seedsweep.runs.naming import count, varied
from seedsweep.whole import read_json


@dataclass(frozen=True)
class Tally:
    """The jobs that came to no result.

    ``failures`` left a reason; ``unended`` neither that nor a result (a killed process), ``running`` are those among
    them that a process is at; ``halfway`` is how many the user's Ctrl-C stopped (none of them is unended then);
    ``not_begun`` have no folder.
    """

    folder: Path
    interrupted: bool
    failures: list[Path]
    unended: list[Path]
    running: list[Path]
    halfway: int
    not_begun: int

    @property
    def failed(self) -> int:
        """Jobs that ended without a result."""
        return len(self.failures) + len(self.unended) - len(self.running)

    @property
    def missing(self) -> int:
        """Jobs that should have a result, and have none."""
        return self.failed + len(self.running) + self._absent

    def headline(self, finished: int, noun: str, plural: str) -> str:
        """Says how many there are of each: ``finished`` of what ``noun`` and ``plural`` name, and those without."""
        counts = (
            (self.failed, "failed", True),
            (len(self.running), "still running", False),
            (self.halfway, "stopped on the way", False),
            (self.not_begun, "not begun", False),
        )
        others = (f"{n} {what}" for n, what, always in counts if n or always)
        return ", ".join([f"{finished} {noun if finished == 1 else plural} finished", *others])

    def tell_failures(self, console: Console, told: Collection[str], stopped: str | None) -> None:
        """Says a line for each job without a result.

        Args:
            console: where to.
            told: names of folders that were told of before.
            stopped: why the launcher ended before its jobs did.
        """
        for job in self.failures:
            if job.name not in told:
                _say(console, f"failed: {job.name}: {_reason(job)}")
        for job in self.unended:
            log = " (see its run.log)" if (job / "run.log").is_file() else ""
            end = "still running" if job in self.running else f"ended without a result{log}"
            _say(console, f"{'' if job in self.running else 'failed: '}{job.name}: {end}.")
        if stopped:
            _say(console, f"the grid stopped before its end: {stopped}")
        elif self._absent:
            place = shown(self.folder)
            _say(console, f"{self._absent} jobs left nothing in {place}: do all machines share this folder?")

    def tell_how_to_go_on(self, console: Console, stopped: str | None) -> None:
        """Prints the command, if there is something left to do."""
        if self.interrupted or stopped or self.missing:
            line = command(("resume", shown(self.folder)))
            console.print(f"go on      {line}", soft_wrap=True, markup=False)

    @property
    def _absent(self) -> int:
        return 0 if self.interrupted else self.not_begun  # of a stopped grid they are no failure


def tally(folder: Path, is_finished: Callable[[Path], bool], *, interrupted: bool) -> Tally:
    """Counts a grid's jobs.

    Args:
        folder: of the grid.
        is_finished: whether a job's folder holds its result.
        interrupted: by the user.
    """
    failures, unended = jobs_with(folder, "failure.json"), []
    for job in jobs_with(folder, record.JOB):
        try:
            if job not in failures and not is_finished(job):
                unended.append(job)
        except DamagedError:  # nobody knows its result any more
            failures.append(job)
    failures.sort(key=job_number)
    running = [job for job in unended if record.is_running(job)]
    if interrupted:
        return Tally(folder, True, failures, [], [], len(unended), _not_begun(folder))
    return Tally(folder, False, failures, unended, running, 0, _not_begun(folder))


def _reason(job: Path) -> str:
    """Returns why a job has no result: what it noted, or which note of it is damaged."""
    try:
        for name in (record.JOB, "metrics.json"):
            read_json(job / name)
        return str(read_json(job / "failure.json").get("reason", "unknown"))
    except DamagedError as error:
        return str(error)


def jobs_with(folder: Path, name: str) -> list[Path]:
    """Returns the grid's job folders that hold a file of this name, by number."""
    return sorted((path.parent for path in folder.glob(f"*/{name}")), key=job_number)


def _not_begun(folder: Path) -> int:
    """Returns how many jobs were never begun: they have no folder, or nothing but what Hydra puts there."""
    total = count(varied(folder))
    folders = [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")]
    begun = sum(any(entry.name != ".hydra" for entry in path.iterdir()) for path in folders)
    return max(0, (total or 0) - begun)


def _say(console: Console, line: str) -> None:
    console.print(line, style="red", soft_wrap=True, markup=False)
