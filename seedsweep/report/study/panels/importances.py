"""How much each setting matters, by two measures of Optuna, with the spread over resampled trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, create_trial

from seedsweep.report.study.trials import NothingToDrawError, Trials, epochs, score
from seedsweep.report.style import GREY, INK, TRAIN, VAL, figure, tidy

LEAST = 10  # trials, and three a setting
HINT = 60  # trials; below, said to be a hint
TOP = 5  # PED-ANOVA's authors want at least so many trials among the best
REACHED = 0.9  # share of the trials that must have come as far as the epoch at which they are compared
RESAMPLES = 20

Spread = dict[str, tuple[float, float, float]]  # mean over the resamples, 10th and 90th percentile


def draw(trials: Trials) -> Figure:
    """Draws two measures side by side.

    Left: fANOVA (Hutter et al. 2014), the share of the variance that a setting explains alone, over all its range.
    Pruned trials take part, since without them what is bad everywhere seems not to matter: all trials are compared
    at the last epoch that nearly all have reached. Right: PED-ANOVA (Watanabe et al. 2023, its conditional form
    2026), what the best trials have in common, settings that only some trials have included; a pruned trial counts
    as none of the best. Bars are means over trials drawn again with replacement, whiskers span the 10th to the 90th
    percentile: where they come near zero, there is no saying.
    """
    names = [p.name for p in trials.parameters]
    if len(names) < 2:
        raise NothingToDrawError("fewer than two settings vary.")
    least = max(LEAST, 3 * len(names))
    ended = [*trials.finished, *trials.pruned]
    if len(ended) < least:
        raise NothingToDrawError(
            f"it needs {least} finished or pruned trials or more, here are {len(ended)}."
        )
    made = figure(11.5, 2.0 + 0.36 * len(names))
    made.get_layout_engine().set(wspace=0.06, w_pad=0.1)  # type: ignore[union-attr, call-arg]
    left, right = made.subplots(1, 2, sharey=True)
    tidy(left, "what moves the score (fANOVA)")
    tidy(right, "what the best trials have in common (PED-ANOVA)")
    explained = _variance(trials, names, left)
    common = _best_ones(trials, right)
    if not explained and not common:
        raise NothingToDrawError("all trials have the same value.")
    first = explained or common
    order = sorted(names, key=lambda name: first.get(name, (-1.0,))[0])
    _bars(left, order, explained, VAL)
    _bars(right, order, common, TRAIN)
    left.set_yticks(range(len(order)), order)
    return made


def _variance(trials: Trials, names: list[str], axes: Axes) -> Spread:
    compared, values, when = _compared(trials)
    whole = [n for n, t in enumerate(compared) if all(name in t.params for name in names)]
    if len(whole) < 0.6 * len(compared):  # some settings exist in a part of the trials only
        names = [name for name in names if all(name in t.params for t in compared)]
        whole = list(range(len(compared)))
    if len(whole) < LEAST or not names:
        return _instead(axes, f"too few trials: {len(whole)}, of {LEAST} needed")
    note = " that have all settings" if len(whole) < len(compared) else ""
    _subtitle(axes, f"share of the variance {when}, {len(whole)} trials{note}", len(whole))
    return _spread(
        [compared[n] for n in whole],
        [values[n] for n in whole],
        names,
        lambda: FanovaImportanceEvaluator(n_trees=4, max_depth=8, seed=0),
    )


def _compared(trials: Trials) -> tuple[list[FrozenTrial], list[float], str]:
    """Returns trials, their values at one epoch, and that epoch in words."""
    ended = [*trials.finished, *trials.pruned]
    if not trials.pruned or not all(t.intermediate_values for t in ended):
        return trials.finished, [score(t) for t in trials.finished], "at the end"
    reached = sorted((epochs(t) for t in ended), reverse=True)
    epoch = reached[math.ceil(REACHED * len(ended)) - 1]
    there = [t for t in ended if epoch - 1 in t.intermediate_values]
    return there, [t.intermediate_values[epoch - 1] for t in there], f"after epoch {epoch}"


def _best_ones(trials: Trials, axes: Axes) -> Spread:
    if len(trials.finished) < TOP:
        return _instead(axes, f"too few finished trials: {len(trials.finished)}, of {TOP} needed")
    ended = [*trials.finished, *trials.pruned]
    values = [score(t) for t in trials.finished] + [min(map(score, trials.finished))] * len(trials.pruned)
    share = min(max(TOP / len(ended), 0.1), 0.5)
    _subtitle(axes, f"best {share:.0%} of {len(ended)} trials against all", len(ended))
    names = [p.name for p in trials.parameters if any(p.name in t.params for t in ended)]
    return _spread(ended, values, names, lambda: PedAnovaImportanceEvaluator(target_quantile=share))


def _spread(
    trials: list[FrozenTrial],
    values: list[float],
    names: list[str],
    evaluator: Callable[[], BaseImportanceEvaluator],
) -> Spread:
    """Returns mean importance and its range over RESAMPLES draws of as many trials, with replacement."""
    if np.ptp(values) == 0:
        return {}
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(trials), len(trials)) for _ in range(RESAMPLES)]
    found = [_importances([trials[n] for n in d], [values[n] for n in d], names, evaluator()) for d in draws]
    spread = {}
    for name in names:
        each = [one.get(name, 0.0) for one in found]
        low, high = np.quantile(each, (0.1, 0.9))
        spread[name] = (float(np.mean(each)), float(low), float(high))
    return spread


def _importances(
    trials: list[FrozenTrial], values: list[float], names: list[str], evaluator: BaseImportanceEvaluator
) -> dict[str, float]:
    present = [name for name in names if any(name in t.params for t in trials)]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # "A new study created in memory", again and again
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a resample that happens to be lopsided
            study = optuna.create_study(direction="maximize")
            study.add_trials(
                [
                    create_trial(value=value, params=t.params, distributions=t.distributions)
                    for t, value in zip(trials, values, strict=True)
                ]
            )
            found = get_param_importances(study, evaluator=evaluator, params=present)
            return {name: float(value) for name, value in found.items()}
    finally:
        optuna.logging.set_verbosity(verbosity)


def _bars(axes: Axes, order: list[str], spread: Spread, colour: str) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(0, 1)
    if not spread:
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return
    axes.grid(axis="x", color="#e8e8e8")
    for y, name in enumerate(order):
        if name not in spread:
            axes.text(0.01, y, "not in all trials", va="center", fontsize=8.5, color=GREY)
            continue
        value, low, high = spread[name]
        axes.barh(y, value, height=0.55, color=colour, alpha=0.85)
        axes.plot([low, high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
        axes.text(max(value, high) + 0.015, y, f"{value:.2f}", va="center", fontsize=9, color=INK)


def _subtitle(axes: Axes, text: str, count: int) -> None:
    axes.set_xlabel(text + ("\nfew trials: read it as a hint" if count < HINT else ""), fontsize=9, color=INK)


def _instead(axes: Axes, text: str) -> Spread:
    """Writes ``text`` where the bars would be."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=9.5, color=GREY)
    return {}
