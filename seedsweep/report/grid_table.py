"""Writes a grid down: results.csv, and the table on the terminal."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedsweep.names import cell
from seedsweep.runs.grid import GAP, SEVERAL, ArmRow, by_data, data_title, has_several
from seedsweep.runs.run_result import RunResult

SAME = "≈"
SAME_MEANS = "same within noise as the best"
UNDECIDED = "?"
UNDECIDED_MEANS = "more than 5 points behind, but too few images or seeds to tell"

CSV_COLUMNS = (
    "job", "label", "experiment", "seed", "status", "backbone", "batchnorm", "preprocess", "batch_size",
    "epochs", "best_epoch", "val_acc", "val_macro_f1", "test_acc", "test_macro_f1", "train_acc", "bn_gap",
    "bn_gap_last", "wall_seconds", "val_acc_low", "val_acc_high", "val_macro_f1_low", "val_macro_f1_high",
    "test_acc_low", "test_acc_high", "test_macro_f1_low", "test_macro_f1_high", "arm_val_acc", "arm_low", "arm_high",
    "arm_over", "behind_best", "p_holm", "same_as_best", "departures", "reason", "data",
)  # fmt: skip


def mark(row: ArmRow) -> str:
    """Returns the mark behind an arm's name, if it has one."""
    if row.standing is None:
        return ""
    return SAME if row.standing.same else UNDECIDED if row.standing.undecided else ""


def explained(rows: list[ArmRow]) -> list[str]:
    """Returns sentences on what the intervals and the marks of these arms mean; none without intervals."""
    found = [row.standing for row in rows if row.standing]
    if not found:
        return []
    sentences = [f"Intervals: 95 %, over {found[0].interval.over}."]
    compared = next((standing.behind for standing in found if standing.behind), None)
    if compared is not None:
        sentences.append(f"{SAME} {SAME_MEANS} ({compared.method}, Holm-corrected, p > 0.05).")
    if any(standing.undecided for standing in found):
        sentences.append(f"{UNDECIDED} {UNDECIDED_MEANS}.")
    alone = [row.label for row in rows if row.mean is not None and row.standing is None]
    if alone:
        sentences.append(
            f"Not compared, for no predictions of the same images are there: {', '.join(alone)}."
        )
    return sentences


def write_results_csv(results: list[RunResult], path: Path, rows: list[ArmRow] | None = None) -> None:
    """Writes a row a job, failed ones with their reason.

    ``..._low`` and ``..._high`` are 95 % intervals: of the run over images, ``arm_...`` of its arm. ``data`` is the
    beginning of the digest of the validation and test images: only rows with the same one can be ranked, and
    ``behind_best`` means the best among them.

    Args:
        results: the jobs.
        path: of the file.
        rows: the arms, with their standing.
    """
    arms = {(row.held_out, row.label): row for row in rows or ()}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        for result in results:
            row: dict[str, Any] = {
                "job": result.folder.name,
                "label": result.label,
                "experiment": result.experiment,
                "seed": result.seed,
                "status": result.metrics.get("status", "failed"),
                "reason": result.reason or "",
                "data": result.held_out.short if result.held_out else "",
            }
            if result.is_finished:
                m = result.metrics
                test = m["test"] or {}
                keys = ("backbone", "batchnorm", "preprocess", "batch_size", "epochs", "best_epoch")
                row |= {key: m[key] for key in keys}
                row["departures"] = " ".join(result.departures)
                row |= {
                    "val_acc": _round(m["val"]["acc"]),
                    "val_macro_f1": _round(m["val"]["macro_f1"]),
                    "test_acc": _round(test.get("acc")),
                    "test_macro_f1": _round(test.get("macro_f1")),
                    "train_acc": _round(m["train"]["acc"]),
                    "bn_gap": _round(m["train_images"]["bn_gap"]),
                    "bn_gap_last": _round(m["train_images"].get("bn_gap_last")),
                    "wall_seconds": round(m["wall_seconds"], 1),
                }
                row |= _of_run(result) | _of_arm(arms.get((result.held_out, result.label)))
            writer.writerow({key: cell(value) for key, value in row.items()})


def _of_run(result: RunResult) -> dict[str, Any]:
    row = {}
    for split, answers in result.predictions.items():
        for name, interval in answers.intervals.items():
            row[f"{split}_{name}_low"] = _round(interval.low)
            row[f"{split}_{name}_high"] = _round(interval.high)
    return row


def _of_arm(arm: ArmRow | None) -> dict[str, Any]:
    if arm is None or arm.standing is None:
        return {}
    found = arm.standing
    row: dict[str, Any] = {
        "arm_val_acc": _round(found.interval.value),
        "arm_low": _round(found.interval.low),
        "arm_high": _round(found.interval.high),
        "arm_over": found.interval.over,
    }
    if found.behind is not None:
        row |= {
            "behind_best": _round(found.behind.difference.value),
            "p_holm": _round(found.p),
            "same_as_best": "yes" if found.same else "unclear" if found.undecided else "no",
        }
    return row


def _round(value: float | None) -> float | str:
    return "" if value is None else round(value, 5)


def print_table(rows: list[ArmRow], console: Console) -> None:
    """Prints the arms of each data set, best first, its majority baseline, and the failures with their reasons."""
    groups = by_data(rows)
    several = has_several(groups)
    if several:
        console.print(SEVERAL, style="bold", soft_wrap=True)
    for number, group in enumerate(groups, 1):
        if several:
            title = data_title(number, group)
            console.print(f"\n{title}", style="bold", soft_wrap=True, markup=False)
        _print_arms(group, console)
    for row in rows:
        for reason, seeds in _by_reason(row.failures).items():
            console.print(
                f"failed: {row.label} (seed {seeds}): {reason}", style="red", soft_wrap=True, markup=False
            )
        for reason, seeds in _by_reason(row.diverged).items():
            console.print(f"{row.label} (seed {seeds}) {reason}", style="red", soft_wrap=True, markup=False)


def _print_arms(rows: list[ArmRow], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for name in ("val acc", "± sd", "95 %", "macro-F1", "test acc", "bn_gap", "seconds", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.mean is None:
            table.add_row(escape(row.label), row.why_none, *[""] * 6, "0", style="dim")
            continue
        gap = statistics.fmean(row.bn_gaps)
        table.add_row(
            f"{escape(row.label)} {mark(row)}".rstrip()
            + (f" ({len(row.diverged)} diverged)" if row.diverged else ""),
            f"{row.mean:.3f}",
            f"{row.spread:.3f}" if row.spread is not None else "",
            f"{row.standing.interval.low:.3f}-{row.standing.interval.high:.3f}" if row.standing else "",
            _mean(row.val_macro_f1s),
            _mean(row.test_accs),
            f"[red]{gap:+.3f}[/red]" if abs(gap) > GAP else f"{gap:+.3f}",
            f"{statistics.fmean(row.seconds):.0f}",
            str(len(row.val_accs)),
        )
    majority = next((row.majority for row in rows if row.majority is not None), None)
    if majority is not None:
        table.add_row("always the largest class", f"{majority:.3f}", style="dim")
    console.print(table)
    for sentence in explained(rows):
        console.print(sentence, style="dim", soft_wrap=True, markup=False)
    for row in rows:
        if row.departs:
            console.print(row.departs, style="dim", soft_wrap=True, markup=False)


def _by_reason(reasons: list[tuple[int, str]]) -> dict[str, str]:
    """Returns each reason once, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, reason in reasons:
        seeds.setdefault(reason, []).append(str(seed))
    return {reason: ", ".join(numbers) for reason, numbers in seeds.items()}


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f}" if values else ""
