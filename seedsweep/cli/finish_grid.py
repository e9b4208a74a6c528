"""Closes a grid of runs: results.csv, comparison.png, the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from seedsweep.cli.tally import tally
from seedsweep.report.grid_results import draw_comparison, print_table, write_results_csv
from seedsweep.report.ladder_files import close_ladder
from seedsweep.runs import job_record as record
from seedsweep.runs.command import command, shown
from seedsweep.runs.grid import arms, collect


def finish_grid(folder: Path, *, interrupted: bool, stopped: str | None = None) -> int:
    """Writes and prints what the grid found.

    Args:
        folder: of the grid.
        interrupted: by the user; the table is of the jobs so far.
        stopped: why the launcher ended before its jobs did.

    Returns:
        The number of jobs without a result: failed, diverged, ended without a word (a killed process), still running,
        or never begun where the launcher should have.
    """
    console = Console(highlight=False, width=max(Console().width, 100))
    results = collect(folder) if folder.is_dir() else []
    jobs = tally(folder, record.is_ended, interrupted=interrupted)
    failed = {job.name for job in jobs.failures}
    finished = sum(result.is_finished and result.folder.name not in failed for result in results)
    rows = arms(results)
    diverged = sum(result.is_diverged for result in results)
    also = f", {diverged} diverged" if diverged else ""
    console.print(f"\n{jobs.headline(finished, 'run', 'runs')}{also}\n")
    place = shown(folder)
    if rows:
        write_results_csv(results, folder / "results.csv", rows)
        draw_comparison(rows, folder / "comparison.png")
        print_table(rows, console)
    ladder = close_ladder(folder, results, console)
    # a failure may stand beside a result: the folder of another run was in the way
    told = {result.folder.name for result in results if not result.is_finished}
    jobs.tell_failures(console, told, stopped)
    names = ", ".join(("results.csv", "comparison.png", *ladder))
    files = f"  ({names})" if rows else ""
    console.print(f"\nresults    {place}{files}", soft_wrap=True, markup=False)
    jobs.tell_how_to_go_on(console, stopped)
    dashboard = command("task=dashboard", ("dashboard.dir", place))
    console.print(f"dashboard  {dashboard}", soft_wrap=True, markup=False)
    return jobs.missing + diverged
