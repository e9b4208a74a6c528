"""Several studies side by side: their winners in one table, and in one CSV file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedsweep.errors import DamagedError
from seedsweep.overrides import shortened
from seedsweep.runs.held_out import DIFFERENT, SHOWN, HeldOut, by_digest, title_of
from seedsweep.runs.record import METRICS
from seedsweep.whole import read_json, write_csv

log = logging.getLogger(__name__)

Result = dict[str, Any]  # what a study's result.json holds, and ``finished``
CSV_COLUMNS = (
    "study", "experiment", "seed", "state", "metric", "rule", "mean", "sd", "seeds", "test_acc", "test_acc_sd",
    "test_macro_f1", "test_macro_f1_sd", "finished_trials", "pruned_trials", "failed_trials", "trial",
    "settings", "config", "data",
)  # fmt: skip


def read_results(studies: Mapping[Path, bool]) -> list[Result]:
    """Returns what the studies' result.json say, by data set; the best winner first where all are measured alike.

    Args:
        studies: folders, and whether the study came to its end now; otherwise its result, if it has one, is that of an
            earlier call. It stands under ``finished``.
    """
    found = []
    for folder, finished in studies.items():
        try:
            result = read_json(folder / "result.json")
            _ = result and (result["winner"]["mean"], result["metric"], result["rule"])
        except (DamagedError, KeyError, TypeError) as error:
            log.warning(
                "the study in %s is left out of the table: its result.json is damaged (%s)", folder, error
            )
            continue
        if result:
            found.append({**result, "finished": finished})
    groups = _by_data(found)
    for group in groups:
        if _are_alike(group):
            group.sort(key=lambda result: -float(result["winner"]["mean"]))
    return [result for group in groups for result in group]


def _by_data(results: Sequence[Result]) -> list[list[Result]]:
    """Returns the studies that were judged by the same images together; those of which that is not known, too."""
    return by_digest(results, lambda result: str(_data(result).get("digest", "")))


def _data(result: Result) -> dict[str, Any]:
    return result.get("data") or {}  # studies of earlier versions say nothing


def _are_alike(results: Sequence[Result]) -> bool:
    """Says whether all studies went by one metric and one rule, so that their winners can be ranked."""
    return len({(result["metric"], result["rule"]) for result in results}) <= 1


def write_studies_csv(results: Sequence[Result], path: Path) -> None:
    """Writes a row a study, of those that :func:`read_results` returned."""
    write_csv(path, CSV_COLUMNS, ([row[name] for name in CSV_COLUMNS] for row in map(_row, results)))


def print_studies(results: Sequence[Result], console: Console) -> None:
    """Prints a line a study: what its winner reaches, and its settings. Each data set has a table of its own."""
    groups = _by_data(results)
    if len(groups) > 1:
        console.print(DIFFERENT.format("studies"), style="bold", soft_wrap=True)
    for number, group in enumerate(groups, 1):
        if len(groups) > 1:
            data = _data(group[0])
            title = title_of(number, HeldOut(data["digest"], data["about"]) if data else None)
            console.print(f"\n{title}", style="bold", soft_wrap=True, markup=False)
        _print_table(group, console)


def _print_table(results: Sequence[Result], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("study", no_wrap=True)
    table.add_column("the winner on val, ± sd", justify="right", no_wrap=True)
    table.add_column("test acc", justify="right", no_wrap=True)
    table.add_column("settings")
    for result in results:
        row = _row(result)
        test = row["test_acc"]
        table.add_row(
            escape(result["study"]) + ("" if result["finished"] else " (of an earlier call)"),
            f"{METRICS[result['metric']]} {score_text(row['mean'], row['sd'], row['seeds'])}",
            "" if test is None else score_text(test, row["test_acc_sd"], row["seeds"]),
            escape(", ".join(map(shortened, result["winner"]["settings"])) or "as it stands"),
        )
    largest = _data(results[0]).get("largest_class") or {}
    for metric in dict.fromkeys(result["metric"] for result in results):
        if metric in largest:
            table.add_row("always the largest class", f"{METRICS[metric]} {largest[metric]:.3f}", style="dim")
    console.print(table)
    if not _are_alike(results):
        console.print("not ranked: these studies go by different metrics or rules", style="dim")


def score_text(mean: float, sd: float | None, seeds: int) -> str:
    """Returns a mean and its standard deviation, which one seed does not have."""
    return f"{mean:.3f}" + (f" ± {sd:.3f}" if sd is not None and seeds > 1 else "")


def _row(result: Result) -> dict[str, Any]:
    winner, trials = result["winner"], result["trials"]
    seeds = len(winner["values"])
    row: dict[str, Any] = {
        "study": result["study"],
        "experiment": result.get("experiment"),
        "seed": result.get("seed"),
        "state": "finished" if result["finished"] else "of an earlier call",
        "metric": result["metric"],
        "rule": result["rule"],
        "mean": winner["mean"],
        "sd": winner["sd"] if seeds > 1 else None,
        "seeds": seeds,
        "finished_trials": trials.get("complete", 0),
        "pruned_trials": trials.get("pruned", 0),
        "failed_trials": trials.get("fail", 0),
        "trial": winner["trial"],
        "settings": ", ".join(winner["settings"]),
        "config": result["best_config"],
        "data": _data(result).get("digest", "")[:SHOWN],
    }
    for name in METRICS:
        scores = winner["test"].get(name, {})
        row[f"test_{name}"] = scores.get("mean")
        row[f"test_{name}_sd"] = scores.get("sd") if seeds > 1 else None
    return row
