"""Closes a grid: results.csv, comparison.png, the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from seedsweep.command import command, shown
from seedsweep.reporting.comparison import draw_comparison
from seedsweep.reporting.grid import arms, collect
from seedsweep.reporting.grid_table import print_table, write_results_csv
from seedsweep.reporting.ladder.write import close_ladder
from seedsweep.reporting.standing import judge
from seedsweep.sweep import record
from seedsweep.sweep.naming import count, varied
from seedsweep.whole import read_json


def finish_grid(folder: Path, *, interrupted: bool, stopped: str | None = None) -> int:
    """Writes and prints what the grid found.

    Args:
        folder: of the grid.
        interrupted: by the user; the table is of the jobs so far.
        stopped: why the launcher ended before its jobs did.

    Returns:
        The number of jobs without a result: failed, ended without a word (a killed process), still running,
        or never begun where the launcher should have.
    """
    console = Console(highlight=False, width=max(Console().width, 100))
    results = collect(folder) if folder.is_dir() else []
    finished = sum(result.metrics is not None for result in results)
    jobs = sorted(path.parent for path in folder.glob("*/job.json"))
    failures = sorted(path.parent for path in folder.glob("*/failure.json"))
    unended = [] if interrupted else [j for j in jobs if j not in failures and not record.is_finished(j)]
    running = [job for job in unended if record.is_running(job)]
    not_begun = _absent(folder)
    absent = 0 if interrupted else not_begun  # of a stopped grid they are no failure
    rows = arms(results)
    failed = len(failures) + len(unended) - len(running)
    others = f", {len(running)} still running" if running else ""
    halfway = sum(not record.is_finished(job) and job not in failures for job in jobs) if interrupted else 0
    others += f", {halfway} stopped on the way" if halfway else ""
    others += f", {not_begun} not begun" if not_begun else ""
    console.print(f"\n{finished} {'run' if finished == 1 else 'runs'} finished, {failed} failed{others}\n")
    place = shown(folder)
    if rows:
        judge(rows, results)
        write_results_csv(results, folder / "results.csv", rows)
        draw_comparison(rows, folder / "comparison.png")
        print_table(rows, console)
    ladder = close_ladder(folder, results, console)
    told = {result.folder for result in results if result.metrics is None}
    for job in failures:  # beside a result: the folder of another run was in the way
        if job.name not in told:
            reason = read_json(job / "failure.json").get("reason", "unknown")
            _say(console, f"failed: {job.name}: {reason}")
    for job in unended:
        end = "still running" if job in running else "ended without a result (see its run.log)"
        _say(console, f"{'' if job in running else 'failed: '}{job.name}: {end}.")
    if stopped:
        _say(console, f"the grid stopped before its end: {stopped}")
    elif absent:
        _say(console, f"{absent} jobs left nothing in {place}: do all machines share this folder?")
    names = ", ".join(("results.csv", "comparison.png", *ladder))
    files = f"  ({names})" if rows else ""
    console.print(f"\nresults    {place}{files}", soft_wrap=True, markup=False)
    missing = failed + len(running) + absent
    if interrupted or stopped or missing:
        console.print(f"go on      {command(f'resume={place}')}", soft_wrap=True, markup=False)
    dashboard = command("task=dashboard", f"dashboard.dir={place}")
    console.print(f"dashboard  {dashboard}", soft_wrap=True, markup=False)
    return missing


def _absent(folder: Path) -> int:
    """Returns how many jobs were never begun: they have no folder, or nothing but what Hydra puts there."""
    total = count(varied(folder))
    folders = [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")]
    begun = sum(any(entry.name != ".hydra" for entry in path.iterdir()) for path in folders)
    return max(0, (total or 0) - begun)


def _say(console: Console, line: str) -> None:
    console.print(line, style="red", soft_wrap=True, markup=False)
