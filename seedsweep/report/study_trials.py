"""The trials of a study: sorted for its pictures, as rows of a CSV file, and as a table on the terminal."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from seedsweep.errors import SeedsweepError
from seedsweep.report.blocks import seconds
from seedsweep.whole import write_csv

COLUMNS = ("trial", "slot", "state", "value", "epochs", "seconds", "reason")
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
ENDED = "ended"  # a trial that was ended by what its curves showed, which its reason tells
BEST = 10  # trials shown


@dataclass(frozen=True)
class Trials:
    """A study's trials by what became of them."""

    metric: str  # what the values are
    # trials by number, for each of STATES and ENDED; a value that is no number is a failure
    by_state: dict[str, list[FrozenTrial]]
    # for every setting with more than one value, whether it is a number; in the order of the study
    is_number: dict[str, bool]

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with a finite value."""
        return self.by_state["finished"]

    @property
    def pruned(self) -> list[FrozenTrial]:
        """Trials that were pruned or ended, with at least one epoch; their value is that of the last one."""
        return [
            trial
            for name in ("pruned", ENDED)
            for trial in self.by_state[name]
            if math.isfinite(score(trial))
        ]


def read_trials(study: optuna.Study, metric: str) -> Trials:
    """Sorts a study's trials.

    Raises:
        SeedsweepError: the study minimises, or has several objectives.
    """
    if [d.name for d in study.directions] != ["MAXIMIZE"]:
        raise SeedsweepError(
            f"study {study.study_name} does not maximise one value: its pictures would mislead."
        )
    trials = sorted(study.get_trials(deepcopy=False), key=slot_of)
    by_state: dict[str, list[FrozenTrial]] = {name: [] for name in (*STATES.values(), ENDED)}
    for trial in trials:
        by_state[state_of(trial)].append(trial)
    is_number = {}
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        drawn = [trial for trial in trials if name in trial.params]
        if any(trial.params[name] != drawn[0].params[name] for trial in drawn):
            kinds = (trial.distributions[name] for trial in drawn)
            is_number[name] = not any(isinstance(kind, CategoricalDistribution) for kind in kinds)
    return Trials(metric, by_state, is_number)


def state_of(trial: FrozenTrial) -> str:
    """Returns what became of a trial: of :data:`STATES`, or :data:`ENDED`; a value that is no number is a failure."""
    if trial.state == TrialState.PRUNED and "reason" in trial.user_attrs:
        return ENDED
    if trial.state == TrialState.COMPLETE and not math.isfinite(score(trial)):
        return STATES[TrialState.FAIL]
    return STATES[trial.state]


def slot_of(trial: FrozenTrial) -> int:
    """Returns the number that a trial and its folder go by in the study, else Optuna's."""
    return int(trial.user_attrs.get("slot", trial.number))


def score(trial: FrozenTrial) -> float:
    """Returns a finished trial's value, a pruned one's last reported, else -inf."""
    if trial.state == TrialState.COMPLETE:
        return trial.value if trial.value is not None else -math.inf
    steps = trial.intermediate_values
    return steps[max(steps)] if steps else -math.inf


def epochs(trial: FrozenTrial) -> int:
    """Returns how many epochs a trial reported; its steps are epochs, from 0."""
    return max(trial.intermediate_values, default=-1) + 1


def text_of(value: Any) -> str:
    """Returns a value as one would type it: ``3e-4``, ``0.35``, ``frozen_bn``; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value != 0 and abs(value) < 0.01:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}"


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
    write_csv(path, list(rows[0]) if rows else COLUMNS, (row.values() for row in rows))


def print_study(study: optuna.Study, console: Console, metric: str) -> None:
    """Prints the best ten trials, how many there were of each state, how long they took, and why some failed."""
    trials = read_trials(study, metric)
    best = sorted(trials.finished, key=lambda t: (-score(t), slot_of(t)))
    best += sorted(trials.pruned, key=lambda t: (-epochs(t), -score(t), slot_of(t)))  # lasted longest
    if best:
        table = _table(trials, best[:BEST], columns=True)
        if console.measure(table, options=console.options.update(width=10_000)).maximum > console.width:
            table = _table(trials, best[:BEST], columns=False)
        console.print(table)
        if len(best) > BEST:
            console.print(f"the other {len(best) - BEST} are in trials.csv", style="dim")
        if trials.pruned and len(trials.finished) < BEST:
            console.print("finished trials first, then those that were pruned last", style="dim")
    counts = {name: len(those) for name, those in trials.by_state.items() if those}
    parts = ", ".join(f"{count} {name}" for name, count in counts.items())
    total = f"{sum(counts.values())} trials" + (f": {parts}" if parts else "")
    console.print(total + _time_taken(study), soft_wrap=True, markup=False)
    for state, style in (("failed", "red"), (ENDED, "dim")):
        reasons: dict[str, list[str]] = {}
        for trial in trials.by_state[state]:
            reason = str(trial.user_attrs.get("reason", "no reason recorded"))
            reasons.setdefault(reason, []).append(str(slot_of(trial)))
        for reason, numbers in reasons.items():
            line = f"{state}: trial {', '.join(numbers)}: {reason}"
            console.print(line, style=style, soft_wrap=True, markup=False)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    state, value = state_of(trial), score(trial)
    return {
        "trial": trial.number,
        "slot": slot_of(trial),
        "state": state,
        "value": round(value, 6) if math.isfinite(value) and state != "failed" else None,
        "epochs": epochs(trial),
        "seconds": _seconds(trial),
        "reason": trial.user_attrs.get("reason"),
    }


def _table(trials: Trials, shown: list[FrozenTrial], *, columns: bool) -> Table:
    """Returns the table with a column a setting, or with all settings in one."""
    short = {name: name.rpartition(".")[2] for name in trials.is_number}
    times = Counter(short.values())
    short = {name: end if times[end] == 1 else name for name, end in short.items()}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("rank", "trial", trials.metric):
        table.add_column(name, justify="right", no_wrap=True)
    if columns:
        for name, is_number in trials.is_number.items():
            table.add_column(short[name], justify="right" if is_number else "left", no_wrap=True)
    else:
        table.add_column("settings")
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for rank, trial in enumerate(shown, 1):
        cells = [text_of(trial.params.get(name)) for name in short]
        if not columns:
            pairs = zip(short.values(), cells, strict=True)
            cells = [" ".join(f"{name}={value}" for name, value in pairs if value)]
        state = state_of(trial)
        table.add_row(
            str(rank), str(slot_of(trial)), f"{score(trial):.4f}", *cells, str(epochs(trial)), state,
            style="dim" if state in ("pruned", ENDED) else None,
        )  # fmt: skip
    return table


def _time_taken(study: optuna.Study) -> str:
    """Returns the time from the first start to the last end, and the trials' own together."""
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.duration]
    if not ended:
        return ""
    first = min(trial.datetime_start for trial in ended if trial.datetime_start)
    last = max(trial.datetime_complete for trial in ended if trial.datetime_complete)
    together = sum(_seconds(trial) or 0.0 for trial in ended)
    whole = (last - first).total_seconds()
    return f"; {seconds(whole)} from first to last, trials together {seconds(together)}"


def _seconds(trial: FrozenTrial) -> float | None:
    """Returns what a trial took."""
    if "seconds" in trial.user_attrs:
        return round(float(trial.user_attrs["seconds"]), 2)
    return round(trial.duration.total_seconds(), 2) if trial.duration else None
