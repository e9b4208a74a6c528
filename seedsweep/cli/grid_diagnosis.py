"""``task=diagnose diagnose.run=GRID``: the arms of a grid that are behind, each examined as one run is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedsweep.diagnosis.finding import Diagnosis
from seedsweep.diagnosis.options import check_run
from seedsweep.errors import OF_ALL, SeedsweepError
from seedsweep.report.contents import read_diagnosis
from seedsweep.report.sections.diagnosis import HEAD, summary
from seedsweep.runs.grid import arms, collect, median_run
from seedsweep.runs.run_result import RunResult

log = logging.getLogger(__name__)


def runs_of_grid(folder: Path, which: str) -> list[RunResult] | None:
    """Returns the runs of a grid to examine, the median one of each arm; None: the folder is no grid's.

    Args:
        which: behind | all; arms of which a run diverged are behind.

    Raises:
        SeedsweepError: no run of it finished, or none is to be examined.
    """
    if not folder.is_dir() or (folder / "metrics.json").is_file():
        return None
    results = collect(folder)
    if not results:
        return None
    rows = [(row, row.of(results)) for row in arms(results)]
    if not any(runs for _, runs in rows):
        raise SeedsweepError(
            f"diagnose.run={folder} is a grid of which no run finished: there is nothing to examine."
        )
    chosen = [
        median_run(runs) for row, runs in rows if runs and (which == "all" or row.is_behind or row.diverged)
    ]
    if not chosen:
        raise SeedsweepError(
            f"diagnose.run={folder} is a grid in which no arm is behind the best beyond chance: "
            "diagnose.arms=all examines all of them."
        )
    return chosen


def diagnose_grid(runs: list[RunResult], examine: Callable[[Path], Diagnosis]) -> str:
    """Examines the runs, and prints a table of what was found, then the headline of each.

    Args:
        examine: writes the diagnosis of the run in a folder into its ``diagnosis/``.

    Returns:
        Which could not be examined, and why; empty: all were.
    """
    done: list[tuple[RunResult, Diagnosis]] = []
    refused: list[str] = []
    for place, run in enumerate(runs, 1):
        log.info("[%d/%d] %s %s", place, len(runs), run.label, run.which)
        try:
            check_run(run.folder)
            done.append((run, examine(run.folder)))
        except OF_ALL:
            raise
        except SeedsweepError as error:
            log.error("not examined: %s", error)
            refused.append(f"{run.label} ({str(error).rstrip('.')})")
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in HEAD:
        table.add_column(name)
    found = [read_diagnosis(run.folder / "diagnosis", run.label) for run, _ in done]
    for row in summary(each for each in found if each is not None):
        table.add_row(*map(escape, row))
    console.print()
    console.print(table)
    for run, diagnosis in done:
        console.print(f"\n[bold]{escape(run.label)}[/bold], {run.which}: {escape(diagnosis.headline)}")
    return (
        f"{len(refused)} of {len(runs)} arms could not be examined: {'; '.join(refused)}." if refused else ""
    )
