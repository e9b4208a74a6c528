"""What the pictures and tables read from an Optuna study."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from seedsweep.errors import SeedsweepError


@dataclass(frozen=True)
class Parameter:
    """A setting that the study varies: a number, or one of several choices."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Trials:
    """A study's trials by what became of them.

    Attributes:
        metric: what the values are.
        finished: with a finite value.
        pruned: with at least one epoch; their value is that of the last one.
        failed: no value.
        running: begun, not ended.
        waiting: not begun.
        parameters: those with more than one value, in the order of the study.
    """

    metric: str
    finished: list[FrozenTrial]
    pruned: list[FrozenTrial]
    failed: list[FrozenTrial]
    running: list[FrozenTrial]
    waiting: list[FrozenTrial]
    parameters: list[Parameter]

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial with the highest value; the earlier one of equals."""
        return max(self.finished, key=score) if self.finished else None


def slot_of(trial: FrozenTrial) -> int:
    """Returns the number that a trial goes by: that of its slot in the study and of its folder, or Optuna's."""
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


def read_trials(study: optuna.Study, metric: str) -> Trials:
    """Sorts a study's trials.

    Args:
        study: one objective, maximised.
        metric: what its values are, for axes and headings.

    Raises:
        SeedsweepError: the study minimises, or has several objectives.
    """
    if [d.name for d in study.directions] != ["MAXIMIZE"]:
        raise SeedsweepError(
            f"study {study.study_name} does not maximise one value: its pictures would mislead."
        )
    trials = sorted(study.get_trials(deepcopy=False), key=slot_of)
    states = {state: [t for t in trials if t.state == state] for state in TrialState}
    complete = states[TrialState.COMPLETE]
    return Trials(
        metric=metric,
        finished=[t for t in complete if math.isfinite(score(t))],
        pruned=[t for t in states[TrialState.PRUNED] if math.isfinite(score(t))],
        failed=states[TrialState.FAIL] + [t for t in complete if not math.isfinite(score(t))],
        running=states[TrialState.RUNNING],
        waiting=states[TrialState.WAITING],
        parameters=_parameters(trials),
    )


def short_names(parameters: list[Parameter]) -> dict[str, str]:
    """Returns the last part of each key (``optim.lr``: ``lr``), the whole key where two would be equal."""
    ends = {p.name: p.name.rpartition(".")[2] for p in parameters}
    times = Counter(ends.values())
    return {name: end if times[end] == 1 else name for name, end in ends.items()}


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


def _parameters(trials: list[FrozenTrial]) -> list[Parameter]:
    values: dict[str, list[Any]] = {}
    choices = set()
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
            if isinstance(trial.distributions[name], CategoricalDistribution):
                choices.add(name)
    return [
        Parameter(name, name not in choices)
        for name, drawn in values.items()
        if any(value != drawn[0] for value in drawn)
    ]
