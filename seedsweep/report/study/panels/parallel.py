"""Parallel coordinates: a line a trial through all its settings to its value."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from optuna.trial import FrozenTrial

from seedsweep.report.study.axes import BEST, COLOURS, PALE, need_finished, norm, tick_text, ticks
from seedsweep.report.study.trials import NothingToDrawError, Parameter, Trials, score, text_of, title
from seedsweep.report.style import GREY, INK, figure

MISSING = -0.14  # height of a setting that a trial does not have


def draw(trials: Trials) -> Figure:
    """Draws the picture; needs two finished trials and two settings that vary."""
    need_finished(trials, 2)
    if len(trials.parameters) < 2:
        raise NothingToDrawError("fewer than two settings vary.")
    made = figure(max(1.75 * (len(trials.parameters) + 1), 8), 4.8)
    axes = made.subplots()
    axes.set_axis_off()
    colours = norm(trials)
    values = [score(trial) for trial in trials.finished]
    last = Parameter(trials.metric, low=min(values), high=max(*values, min(values) + 1e-6))
    for trial in trials.pruned:
        _line(axes, [_height(p, trial) for p in trials.parameters], PALE, 0.7, 1)
    best = trials.best
    for trial in sorted(trials.finished, key=score):
        heights = [*(_height(p, trial) for p in trials.parameters), last.unit(score(trial))]
        colour, width = (BEST, 2.6) if trial is best else (COLOURS(colours(score(trial))), 1.4)
        _line(axes, heights, colour, width, 5 if trial is best else 2)
    every = [*trials.finished, *trials.pruned]
    for x, parameter in enumerate([*trials.parameters, last]):
        missing = x < len(trials.parameters) and any(parameter.name not in t.params for t in every)
        _axis(axes, x, parameter, missing, -1 if x < len(trials.parameters) else 1)
    axes.set_xlim(-0.35, len(trials.parameters) + 0.45)
    axes.set_ylim(MISSING - 0.03, 1.12)
    axes.set_title(
        f"settings and {trials.metric} of {len(trials.finished)} finished trials (darker is better)"
        + (f"; grey: {len(trials.pruned)} pruned" if trials.pruned else "")
        + (f"; brown: {title(best)}, the best" if best else ""),
        loc="left", fontsize=11, color=INK,
    )  # fmt: skip
    return made


def _height(parameter: Parameter, trial: FrozenTrial) -> float:
    if parameter.name not in trial.params:
        return MISSING
    height = parameter.unit(trial.params[parameter.name])
    if not parameter.choices:
        return height
    # lines through one choice lie side by side, so that one can follow them
    return height + 0.05 * ((trial.number * 0.618) % 1 - 0.5)


def _line(axes: Axes, heights: list[float], colour: object, width: float, order: int) -> None:
    """Draws a curve that crosses each axis level, so that crossing lines can be told apart."""
    points, codes = [(0.0, heights[0])], [Path.MOVETO]
    for x, (left, right) in enumerate(pairwise(heights)):
        points += [(x + 0.4, left), (x + 0.6, right), (x + 1.0, right)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        PathPatch(Path(points, codes), fill=False, edgecolor=colour, linewidth=width, zorder=order)  # type: ignore[arg-type]
    )


def _axis(axes: Axes, x: int, parameter: Parameter, missing: bool, side: int) -> None:
    """Draws an axis, its labels on the left (``side`` -1) or on the right (1)."""
    axes.plot([x, x], [0, 1], color=INK, linewidth=1, zorder=3)
    axes.text(x, 1.06, parameter.name, ha="center", fontsize=9.5, fontweight="bold", color=INK)
    if parameter.choices:
        marks = [(parameter.unit(choice), text_of(choice) or "none") for choice in parameter.choices]
    else:
        marks = [(parameter.unit(value), tick_text(parameter, value)) for value in ticks(parameter)]
    if missing:
        axes.plot([x, x], [MISSING, 0], color=GREY, linewidth=1, linestyle=":", zorder=3)
        marks.append((MISSING, "not used"))
    for height, text in marks:
        axes.plot([x, x + 0.02 * side], [height, height], color=INK, linewidth=1, zorder=3)
        axes.text(
            x + 0.04 * side, height, text, ha="right" if side < 0 else "left", va="center", fontsize=8.5,
            color=INK, zorder=6, bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6},
        )  # fmt: skip
