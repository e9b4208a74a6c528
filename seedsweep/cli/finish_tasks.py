"""Closes a grid of other tasks than training: how many came to their end, and of studies the table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.console import Console

from seedsweep.cli.tally import jobs_with, tally
from seedsweep.errors import DamagedError
from seedsweep.report.studies_table import print_studies, read_results, write_studies_csv
from seedsweep.runs.command import shown
from seedsweep.runs.job_record import JOB, is_finished
from seedsweep.whole import read_json


def finish_tasks(folder: Path, *, interrupted: bool, stopped: str | None = None) -> int:
    """Prints what became of a grid's jobs; of several studies, their winners side by side and in results.csv.

    The jobs of one study (``study.job``) say nothing where all is well: its leader has said what came of it.

    Args:
        folder: of the grid.
        interrupted: by the user.
        stopped: why the launcher ended before its jobs did.

    Returns:
        The number of jobs without a result.
    """
    console = Console(highlight=False, width=max(Console().width, 100))
    notes, ended = {}, set()
    for job in jobs_with(folder, JOB):
        with suppress(DamagedError):  # told by the tally
            notes[job] = read_json(job / JOB)
            if notes[job].get("ended") or is_finished(job):
                ended.add(job)

    def has_ended(job: Path) -> bool:
        read_json(job / JOB)
        return job in ended or is_finished(job)

    jobs = tally(folder, has_ended, interrupted=interrupted)
    of_studies = {job: note for job, note in notes.items() if note.get("study")}
    # a study has ended where its leader has: workers end well before, or without it
    studies = {Path(note["study"]): False for note in of_studies.values()}
    studies |= {Path(note["study"]): job in ended for job, note in of_studies.items() if note.get("leads")}
    well = not (interrupted or stopped or jobs.missing)
    if len(studies) == 1 and well:
        return 0
    names = ("study", "studies") if len(studies) == len(notes) else ("job", "jobs")
    console.print(f"\n{jobs.headline(len(ended), *names)}\n")
    # of a study that was refused, for its settings say, an earlier call's result is another matter's
    failed = {note["study"] for job, note in of_studies.items() if note.get("leads") and job in jobs.failures}
    told = {study: is_done for study, is_done in studies.items() if str(study) not in failed}
    results = read_results(told) if len(studies) > 1 else []
    if results:
        print_studies(results, console)
        write_studies_csv(results, folder / "results.csv")
    jobs.tell_failures(console, (), stopped)
    if results or not well:
        files = "  (results.csv)" if results else ""
        console.print(f"\nresults    {shown(folder)}{files}", soft_wrap=True, markup=False)
    jobs.tell_how_to_go_on(console, stopped)
    return jobs.missing
