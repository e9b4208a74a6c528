"""Reads the jobs of a grid and puts them side by side: results.csv and the table on the terminal."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seedsweep.reporting.scores import majority_share

CSV_COLUMNS = (
    "job", "label", "experiment", "seed", "status", "backbone", "batchnorm", "preprocess", "batch_size",
    "epochs", "best_epoch", "val_acc", "val_macro_f1", "test_acc", "test_macro_f1", "train_acc", "bn_gap",
    "bn_gap_last", "wall_seconds", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class JobResult:
    """One job: what its metrics.json holds, or why it failed."""

    folder: str
    label: str
    experiment: str
    seed: int
    metrics: dict[str, Any] | None
    reason: str | None = None


@dataclass
class ArmRow:
    """One arm over its seeds; accuracies are shares, 0..1."""

    label: str
    val_accs: list[float] = field(default_factory=list)
    val_macro_f1s: list[float] = field(default_factory=list)
    test_accs: list[float] = field(default_factory=list)
    bn_gaps: list[float] = field(default_factory=list)  # of the last epoch
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)  # seed, reason
    majority: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean validation accuracy."""
        return statistics.fmean(self.val_accs) if self.val_accs else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.val_accs) if len(self.val_accs) > 1 else None


def collect(sweep_dir: Path) -> list[JobResult]:
    """Reads every job folder of a grid, in the order of the job numbers."""
    results = []
    for folder in sorted(sweep_dir.iterdir(), key=_job_number):
        metrics, failure = _read(folder / "metrics.json"), _read(folder / "failure.json")
        if metrics.get("status") == "finished":
            results.append(
                JobResult(folder.name, metrics["label"], metrics["experiment"], metrics["seed"], metrics)
            )
        elif failure:
            results.append(
                JobResult(
                    folder.name,
                    failure["label"],
                    failure["experiment"],
                    failure["seed"],
                    None,
                    failure["reason"],
                )
            )
    return results


def _job_number(folder: Path) -> tuple[int, str]:
    head = folder.name.split("_", 1)[0]
    return (int(head) if head.isdigit() else -1, folder.name)


def _read(path: Path) -> dict[str, Any]:
    """Returns a file's content; nothing if it is missing, or its process was killed while writing it."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def arms(results: list[JobResult]) -> list[ArmRow]:
    """Groups jobs by label; best mean validation accuracy first, arms without a result last."""
    rows: dict[str, ArmRow] = {}
    for result in results:
        row = rows.setdefault(result.label, ArmRow(result.label))
        if result.metrics is None:
            row.failures.append((result.seed, result.reason or "unknown"))
            continue
        metrics = result.metrics
        row.val_accs.append(metrics["val"]["acc"])
        row.val_macro_f1s.append(metrics["val"]["macro_f1"])
        if metrics["test"]:
            row.test_accs.append(metrics["test"]["acc"])
        gaps = metrics["train_images"]
        row.bn_gaps.append(gaps.get("bn_gap_last", gaps["bn_gap"]))
        row.seconds.append(metrics["wall_seconds"])
        row.majority = majority_share(metrics["images"]["val"])
    return sorted(rows.values(), key=lambda row: -(row.mean if row.mean is not None else -1.0))


def write_results_csv(results: list[JobResult], path: Path) -> None:
    """Writes a row a job, failed ones with their reason."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        for result in results:
            row: dict[str, Any] = {
                "job": result.folder,
                "label": result.label,
                "experiment": result.experiment,
                "seed": result.seed,
                "status": "finished" if result.metrics else "failed",
                "reason": result.reason or "",
            }
            if (m := result.metrics) is not None:
                test = m["test"] or {}
                keys = ("backbone", "batchnorm", "preprocess", "batch_size", "epochs", "best_epoch")
                row |= {key: m[key] for key in keys}
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
            writer.writerow(row)


def _round(value: float | None) -> float | str:
    return "" if value is None else round(value, 5)


def print_table(rows: list[ArmRow], console: Console) -> None:
    """Prints the arms, best first, the majority baseline, and the failures with their reasons."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for name in ("val acc", "± sd", "macro-F1", "test acc", "bn_gap", "seconds", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.mean is None:
            table.add_row(row.label, "failed", *[""] * 5, "0", style="dim")
            continue
        gap = statistics.fmean(row.bn_gaps)
        table.add_row(
            row.label,
            f"{row.mean:.3f}",
            f"{row.spread:.3f}" if row.spread is not None else "",
            _mean(row.val_macro_f1s),
            _mean(row.test_accs),
            f"[red]{gap:+.3f}[/red]" if abs(gap) > 0.05 else f"{gap:+.3f}",
            f"{statistics.fmean(row.seconds):.0f}",
            str(len(row.val_accs)),
        )
    majority = next((row.majority for row in rows if row.majority is not None), None)
    if majority is not None:
        table.add_row("always the largest class", f"{majority:.3f}", style="dim")
    console.print(table)
    for row in rows:
        for reason, seeds in _by_reason(row).items():
            console.print(
                f"failed: {row.label} (seed {seeds}): {reason}", style="red", soft_wrap=True, markup=False
            )


def _by_reason(row: ArmRow) -> dict[str, str]:
    """Returns each reason once, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, reason in row.failures:
        seeds.setdefault(reason, []).append(str(seed))
    return {reason: ", ".join(numbers) for reason, numbers in seeds.items()}


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f}" if values else ""
