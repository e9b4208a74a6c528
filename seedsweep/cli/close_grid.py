"""Closes a grid: counts its jobs by what they left in their folders, and writes and prints the table of the results."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from seedsweep.errors import DamagedError
from seedsweep.report.contents import of_grid
from seedsweep.report.grid_results import draw_comparison, print_table, write_results_csv
from seedsweep.report.ladder_files import close_ladder
from seedsweep.report.studies_table import print_studies, read_results, write_studies_csv
from seedsweep.report.unseen_of_arms import unseen_of
from seedsweep.runs import jobs as record
from seedsweep.runs.command import command, shown
from seedsweep.runs.grid import collect, job_number
from seedsweep.runs.recorded import count, varied
from seedsweep.runs.time_given import TimeGiven
from seedsweep.whole import read_json


def finish_grid(folder: Path, *, interrupted: bool, stopped: str | None = None, report: bool = False) -> int:
    """Writes and prints what a grid of runs found: results.csv, comparison.png, the table.

    Args:
        interrupted: by the user; the table is of the jobs so far.
        stopped: why the launcher ended before its jobs did.
        report: whether report.html is written, too.

    Returns:
        The number of jobs without a result: failed, diverged, ended without a word (a killed process), still running,
        or never begun where the launcher should have.
    """
    console = _console()
    results = collect(folder) if folder.is_dir() else []
    time = TimeGiven.read(folder)
    spent = time is not None and time.budget is not None  # what it left out is no failure
    jobs = count_jobs(folder, record.has_result, interrupted=interrupted or spent)
    failed = {job.name for job in jobs.failures}
    finished = sum(result.is_finished and result.folder.name not in failed for result in results)
    found = of_grid(folder.absolute(), results) if results else None
    diverged = sum(result.is_diverged for result in results)
    also = f", {diverged} diverged" if diverged else ""
    console.print(f"\n{jobs.headline(finished, 'run', 'runs')}{also}\n")
    if found:
        write_results_csv(results, folder / "results.csv", found.rows)
        draw_comparison(found.rows, folder / "comparison.png")
        print_table(found.rows, console)
        for unseen in unseen_of(found.rows, results):
            console.print(f"\n{unseen.sentence.replace('`', '')}", soft_wrap=True, markup=False)
    for sentence in time.sentences if time else ():
        console.print(sentence, soft_wrap=True, markup=False)
    ladder = close_ladder(folder, results, console)
    told = found.behind if found else []
    for each in told:
        console.print(f"\n{each.text.replace('`', '')}", soft_wrap=True, markup=False)
    # a failure may stand beside a result: the folder of another run was in the way
    in_table = {result.folder.name for result in results if not result.is_finished}
    jobs.print_failures(console, in_table, stopped)
    jobs.print_results(console, ("results.csv", "comparison.png", *ladder) if found else (), stopped)
    if any(each.can_be_examined for each in told):
        line = command("task=diagnose", ("diagnose.run", shown(folder)))
        console.print(f"why        {line}", soft_wrap=True, markup=False)
    dashboard = command("task=dashboard", ("dashboard.dir", shown(folder)))
    console.print(f"dashboard  {dashboard}", soft_wrap=True, markup=False)
    if report:
        from seedsweep.report.write_report import write_at_end

        if page := write_at_end(folder, known=found):
            console.print(f"report     {shown(page)}", soft_wrap=True, markup=False)
    return jobs.missing + diverged


def finish_tasks(folder: Path, *, interrupted: bool, stopped: str | None = None) -> int:
    """Prints what became of a grid's other tasks; of several studies, their winners side by side and in results.csv.

    The jobs of one study (``study.job``) say nothing where all is well: its main process has said what came of it.

    Returns:
        The number of jobs without a result.
    """
    console = _console()
    notes, ended = {}, set()
    for job in jobs_with(folder, record.JOB):
        with suppress(DamagedError):  # counted as failed below
            notes[job] = read_json(job / record.JOB)
            if notes[job].get("ended") or record.is_finished(job):
                ended.add(job)

    def has_ended(job: Path) -> bool:
        read_json(job / record.JOB)
        return job in ended or record.is_finished(job)

    jobs = count_jobs(folder, has_ended, interrupted=interrupted)
    of_studies = {job: note for job, note in notes.items() if note.get("study")}
    # a study has ended where its main process has: workers end well before, or without it
    studies = {Path(note["study"]): False for note in of_studies.values()}
    studies |= {Path(note["study"]): job in ended for job, note in of_studies.items() if note.get("leads")}
    well = not (interrupted or stopped or jobs.missing)
    if len(studies) == 1 and well:
        return 0
    names = ("study", "studies") if len(studies) == len(notes) else ("job", "jobs")
    console.print(f"\n{jobs.headline(len(ended), *names)}\n")
    # of a study that was refused, for its settings say, an earlier call's result is another matter's
    failed = {note["study"] for job, note in of_studies.items() if note.get("leads") and job in jobs.failures}
    in_table = {study: is_done for study, is_done in studies.items() if str(study) not in failed}
    results = read_results(in_table) if len(studies) > 1 else []
    if results:
        print_studies(results, console)
        write_studies_csv(results, folder / "results.csv")
    jobs.print_failures(console, (), stopped)
    if results or not well:
        jobs.print_results(console, ("results.csv",) if results else (), stopped)
    return jobs.missing


@dataclass(frozen=True)
class JobCounts:
    """The jobs of a grid that came to no result."""

    folder: Path  # of the grid
    interrupted: bool  # by the user
    failures: list[Path]  # that left a reason, or a damaged result
    not_begun: int  # how many have no folder
    # that left neither a reason nor a result: a killed process
    unended: list[Path] = field(default_factory=list)
    running: list[Path] = field(default_factory=list)  # those among them that a process is at
    halfway: int = 0  # how many the user's Ctrl-C stopped; none of them is unended then

    @property
    def failed(self) -> int:
        """Jobs that ended without a result."""
        return len(self.failures) + len(self.unended) - len(self.running)

    @property
    def missing(self) -> int:
        """Jobs that should have a result, and have none."""
        return self.failed + len(self.running) + self._absent

    @property
    def _absent(self) -> int:
        return 0 if self.interrupted else self.not_begun  # of a stopped grid they are no failure

    def headline(self, finished: int, noun: str, plural: str) -> str:
        """Says how many there are of each: ``finished`` of what ``noun`` and ``plural`` name, and those without."""
        others = [f"{self.failed} failed"]
        for number, what in (
            (len(self.running), "still running"), (self.halfway, "stopped on the way"), (self.not_begun, "not begun"),
        ):  # fmt: skip
            others += [f"{number} {what}"] if number else []
        return ", ".join([f"{finished} {noun if finished == 1 else plural} finished", *others])

    def print_failures(self, console: Console, in_table: Collection[str], stopped: str | None) -> None:
        """Prints a line for each job without a result."""
        lines = [f"failed: {job.name}: {_reason(job)}" for job in self.failures if job.name not in in_table]
        for job in self.unended:
            log = " (see its run.log)" if (job / "run.log").is_file() else ""
            is_running = job in self.running
            lines.append(
                f"{job.name}: still running."
                if is_running
                else f"failed: {job.name}: ended without a result{log}."
            )
        if stopped:
            lines.append(f"the grid stopped before its end: {stopped}")
        elif self._absent:
            place = shown(self.folder)
            lines.append(f"{self._absent} jobs left nothing in {place}: do all machines share this folder?")
        for line in lines:
            console.print(line, style="red", soft_wrap=True, markup=False)

    def print_results(self, console: Console, files: Collection[str], stopped: str | None) -> None:
        """Prints where the results are, and the command that goes on if there is something left to do."""
        place = shown(self.folder)
        names = f"  ({', '.join(files)})" if files else ""
        console.print(f"\nresults    {place}{names}", soft_wrap=True, markup=False)
        if self.interrupted or stopped or self.missing:
            console.print(f"go on      {command(('resume', place))}", soft_wrap=True, markup=False)


def count_jobs(folder: Path, is_finished: Callable[[Path], bool], *, interrupted: bool) -> JobCounts:
    """Counts a grid's jobs."""
    failures, unended = jobs_with(folder, "failure.json"), []
    for job in jobs_with(folder, record.JOB):
        try:
            if job not in failures and not is_finished(job):
                unended.append(job)
        except DamagedError:  # nobody knows its result any more
            failures.append(job)
    failures.sort(key=job_number)
    total = count(varied(folder)) or 0
    folders = [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")]
    # with more in it than Hydra puts there
    begun = sum(any(entry.name != ".hydra" for entry in path.iterdir()) for path in folders)
    not_begun = max(0, total - begun)
    if interrupted:
        return JobCounts(folder, True, failures, not_begun, halfway=len(unended))
    running = [job for job in unended if record.is_running(job)]
    return JobCounts(folder, False, failures, not_begun, unended, running)


def jobs_with(folder: Path, name: str) -> list[Path]:
    """Returns the grid's job folders that hold a file of this name, by number."""
    return sorted((path.parent for path in folder.glob(f"*/{name}")), key=job_number)


def _reason(job: Path) -> str:
    """Returns why a job has no result: what it noted, or which note of it is damaged."""
    try:
        for name in (record.JOB, "metrics.json"):
            read_json(job / name)
        return str(read_json(job / "failure.json").get("reason", "unknown"))
    except DamagedError as error:
        return str(error)


def _console() -> Console:
    return Console(highlight=False, width=max(Console().width, 100))
