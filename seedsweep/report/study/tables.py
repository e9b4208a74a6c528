"""The trials of a study as rows, as a CSV file and as a table on the terminal."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from seedsweep.names import cell
from seedsweep.report.study.trials import Trials, epochs, read_trials, score, short_names, slot_of, text_of

COLUMNS = ("trial", "slot", "state", "value", "epochs", "seconds", "reason")
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
BEST = 10  # trials shown


def study_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """Returns a row a trial: :data:`COLUMNS`, then every setting; None where a trial has none.

    ``value`` of a pruned trial is that of its last epoch; ``seconds`` are those from its start to its end.
    """
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    return [_row(trial) | {name: trial.params.get(name) for name in names} for trial in trials]


def write_trials_csv(study: optuna.Study, path: Path) -> None:
    """Writes :func:`study_rows`."""
    rows = study_rows(study)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else list(COLUMNS))
        writer.writeheader()
        writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)


def print_study(study: optuna.Study, console: Console, metric: str) -> None:
    """Prints the best ten trials, how many there were of each state, how long they took, and why some failed.

    Args:
        study: one objective, maximised; finished or not.
        console: where to print; settings that do not fit side by side are written one after the other.
        metric: the heading of the values.
    """
    trials = read_trials(study, metric)
    best = sorted(trials.finished, key=lambda t: (-score(t), slot_of(t)))
    best += sorted(
        trials.pruned, key=lambda t: (-epochs(t), -score(t), slot_of(t))
    )  # the ones that lasted longest
    if best:
        table = _table(trials, best[:BEST], metric, columns=True)
        if console.measure(table, options=console.options.update(width=10_000)).maximum > console.width:
            table = _table(trials, best[:BEST], metric, columns=False)
        console.print(table)
        if len(best) > BEST:
            console.print(f"the other {len(best) - BEST} are in trials.csv", style="dim")
        if trials.pruned and len(trials.finished) < BEST:
            console.print("finished trials first, then those that were pruned last", style="dim")
    counts = {
        name: len(getattr(trials, name)) for name in ("finished", "pruned", "failed", "running", "waiting")
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    told = f"{sum(counts.values())} trials" + (f": {', '.join(parts)}" if parts else "")
    console.print(told + _time_taken(study), soft_wrap=True, markup=False)
    for reason, numbers in _by_reason(trials.failed).items():
        console.print(f"failed: trial {numbers}: {reason}", style="red", soft_wrap=True, markup=False)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    value = score(trial)
    return {
        "trial": trial.number,
        "slot": slot_of(trial),
        "state": STATES[trial.state],
        "value": round(value, 6) if math.isfinite(value) and trial.state != TrialState.FAIL else None,
        "epochs": epochs(trial),
        "seconds": _seconds(trial),
        "reason": trial.user_attrs.get("reason"),
    }


def _table(trials: Trials, shown: list[FrozenTrial], metric: str, *, columns: bool) -> Table:
    """Returns the table with a column a setting, or with all settings in one."""
    short = short_names(trials.parameters)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("rank", "trial", metric):
        table.add_column(name, justify="right", no_wrap=True)
    if columns:
        for parameter in trials.parameters:
            table.add_column(
                short[parameter.name], justify="right" if parameter.is_number else "left", no_wrap=True
            )
    else:
        table.add_column("settings")
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for rank, trial in enumerate(shown, 1):
        settings = {short[p.name]: text_of(trial.params.get(p.name)) for p in trials.parameters}
        cells = (
            list(settings.values()) if columns else [" ".join(f"{k}={v}" for k, v in settings.items() if v)]
        )
        table.add_row(
            str(rank), str(slot_of(trial)), f"{score(trial):.4f}", *cells, str(epochs(trial)), STATES[trial.state],
            style="dim" if trial.state == TrialState.PRUNED else None,
        )  # fmt: skip
    return table


def _time_taken(study: optuna.Study) -> str:
    """Returns the time from the first start to the last end, and the trials' own together."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.datetime_start and t.datetime_complete]
    if not trials:
        return ""
    first = min(t.datetime_start for t in trials if t.datetime_start)
    last = max(t.datetime_complete for t in trials if t.datetime_complete)
    together = sum(_seconds(trial) or 0.0 for trial in trials)
    return f"; {_span((last - first).total_seconds())} from first to last, trials together {_span(together)}"


def _seconds(trial: FrozenTrial) -> float | None:
    """Returns what a trial took."""
    if "seconds" in trial.user_attrs:
        return round(float(trial.user_attrs["seconds"]), 2)
    return round(trial.duration.total_seconds(), 2) if trial.duration else None


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _by_reason(failed: list[FrozenTrial]) -> dict[str, str]:
    numbers: dict[str, list[str]] = {}
    for trial in failed:
        numbers.setdefault(str(trial.user_attrs.get("reason", "no reason recorded")), []).append(
            str(slot_of(trial))
        )
    return {reason: ", ".join(those) for reason, those in numbers.items()}
