"""Closes a grid: results.csv, comparison.png, the table."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from seedsweep.reporting.comparison import draw_comparison
from seedsweep.reporting.grid import arms, collect, print_table, write_results_csv
from seedsweep.sweep import record


def finish_grid(folder: Path, *, interrupted: bool) -> int:
    """Writes and prints what the grid found.

    Args:
        folder: of the grid.
        interrupted: the table is of the jobs so far.

    Returns:
        The number of failed jobs, those counted in that ended without a word (a killed process).
    """
    console = Console(highlight=False, width=max(Console().width, 100))
    results = collect(folder) if folder.is_dir() else []
    finished = sum(result.metrics is not None for result in results)
    jobs = sorted(path.parent for path in folder.glob("*/job.json"))
    failures = sorted(path.parent for path in folder.glob("*/failure.json"))
    unended = [] if interrupted else [j for j in jobs if j not in failures and not record.is_finished(j)]
    rows = arms(results)
    failed = len(failures) + len(unended)
    console.print(f"\n{finished} {'run' if finished == 1 else 'runs'} finished, {failed} failed\n")
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    quoted = shlex.quote(str(shown))
    if rows:
        write_results_csv(results, folder / "results.csv")
        draw_comparison(rows, folder / "comparison.png")
        print_table(rows, console)
    told = {result.folder for result in results if result.metrics is None}
    for job in failures:  # beside a result: the folder of another run was in the way
        if job.name not in told:
            reason = record.read(job / "failure.json").get("reason", "unknown")
            console.print(f"failed: {job.name}: {reason}", style="red", soft_wrap=True, markup=False)
    for job in unended:
        console.print(
            f"failed: {job.name}: ended without a result (see its run.log).", style="red", soft_wrap=True
        )
    files = "  (results.csv, comparison.png)" if rows else ""
    console.print(f"\nresults    {shown}{files}", soft_wrap=True, markup=False)
    if interrupted or failed:
        again = shlex.quote(f"resume={shown}")
        console.print(f"go on      python -m seedsweep {again}", soft_wrap=True, markup=False)
    console.print(
        f"dashboard  make dashboard DIR={quoted}   (or: tensorboard --logdir {quoted})",
        soft_wrap=True,
        markup=False,
    )
    return failed
