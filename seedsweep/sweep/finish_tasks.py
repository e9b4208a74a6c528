"""Closes a grid of other tasks than training: how many came to their end, and of studies the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from seedsweep.command import shown
from seedsweep.reporting.study.several import print_studies, read_results, write_studies_csv
from seedsweep.sweep.record import JOB
from seedsweep.sweep.tally import tally
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
    jobs = tally(folder, lambda job: bool(read_json(job / JOB).get("ended")), interrupted=interrupted)
    notes = [read_json(path) for path in sorted(folder.glob(f"*/{JOB}"))]
    studies = {Path(note["study"]): False for note in notes if note.get("study")}
    studies |= {Path(note["study"]): True for note in notes if note.get("study") and note.get("ended")}
    well = not (interrupted or stopped or jobs.missing)
    if len(studies) == 1 and well:
        return 0
    several = len(studies) > 1
    ended = sum(studies.values()) if several else sum(bool(note.get("ended")) for note in notes)
    console.print(f"\n{jobs.headline(ended, *(('study', 'studies') if several else ('job', 'jobs')))}\n")
    results = read_results([study for study, is_done in studies.items() if is_done]) if several else []
    if results:
        print_studies(results, console)
        write_studies_csv(results, folder / "results.csv")
    jobs.tell_failures(console, (), stopped)
    if results or not well:
        files = "  (results.csv)" if results else ""
        console.print(f"\nresults    {shown(folder)}{files}", soft_wrap=True, markup=False)
    jobs.tell_how_to_go_on(console, stopped)
    return jobs.missing
