"""Closes a grid: results.csv, comparison.png, the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from seedsweep.reporting.comparison import draw_comparison
from seedsweep.reporting.grid import arms, collect, print_table, write_results_csv


def finish_grid(folder: Path, *, interrupted: bool) -> int:
    """Writes and prints what the grid found.

    Args:
        folder: of the grid.
        interrupted: the table is of the jobs so far.

    Returns:
        The number of failed jobs.
    """
    console = Console(highlight=False, width=max(Console().width, 100))
    results = collect(folder) if folder.is_dir() else []
    failed = sum(result.metrics is None for result in results)
    rows = arms(results)
    console.print(f"\n{len(results) - failed} runs finished, {failed} failed\n")
    if rows:
        write_results_csv(results, folder / "results.csv")
        draw_comparison(rows, folder / "comparison.png")
        print_table(rows, console)
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"\nresults    {shown}/results.csv, comparison.png", soft_wrap=True)
    if interrupted:
        console.print(f"go on      python -m seedsweep resume={shown}", soft_wrap=True)
    console.print(
        f"dashboard  make dashboard DIR={shown}   (or: tensorboard --logdir {shown})", soft_wrap=True
    )
    return failed
