"""Marks, scales and ticks that the pictures of a study share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial

from seedsweep.report.study.trials import NothingToDrawError, Parameter, Trials, score, text_of, title
from seedsweep.report.style import INK, TRAIN, TRAP, VAL

COLOURS = LinearSegmentedColormap.from_list("score", ["#ece3d0", "#a9c6bd", VAL, "#0b2a30"])
BEST = TRAIN
PALE = "#c9c9c9"  # pruned trials


def need_finished(trials: Trials, least: int) -> None:
    """Raises NothingToDrawError where fewer than ``least`` trials have finished."""
    if len(trials.finished) < least:
        wanted = "one" if least == 1 else str(least)
        raise NothingToDrawError(
            f"it needs {wanted} finished trials or more, here are {len(trials.finished)}."
        )


def norm(trials: Trials) -> Normalize:
    """Returns the scale of colours: the finished trials' values, a few bad ones clipped."""
    values = [score(trial) for trial in trials.finished]
    low, high = float(np.quantile(values, 0.1)), max(values)
    return Normalize(low, high if high > low else low + 1e-6, clip=True)


def limits(trials: Trials) -> tuple[float, float]:
    """Returns the range of the value axis: all finished trials, pruned ones only as far as they don't squeeze them.

    Lower ones are drawn at the edge (see :func:`place`).
    """
    values = [score(trial) for trial in trials.finished] or [score(trial) for trial in trials.pruned]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)
    lowest = min([score(trial) for trial in trials.pruned] + [low])
    return max(lowest, low - 0.5 * span) - 0.12 * span, high + 0.08 * span


def place(trial: FrozenTrial, bounds: tuple[float, float]) -> tuple[float, str]:
    """Returns the height and the marker of a trial: a triangle at the edge says that it lies lower."""
    edge = bounds[0] + 0.03 * (bounds[1] - bounds[0])
    value = score(trial)
    return (value, "o") if value >= edge else (edge, "v")


def scatter_pruned(
    axes: Axes, xs: list[float], trials: list[FrozenTrial], bounds: tuple[float, float]
) -> None:
    """Draws pruned trials at their last value, greyed."""
    places = [place(trial, bounds) for trial in trials]
    for marker in ("o", "v"):
        chosen = [(x, y) for x, (y, m) in zip(xs, places, strict=True) if m == marker]
        if chosen:
            axes.scatter(
                [x for x, _ in chosen],
                [y for _, y in chosen],
                s=20,
                marker=marker,
                color=PALE,
                linewidths=0,
                zorder=2,
            )


def ring(axes: Axes, x: float, y: float) -> None:
    """Marks the best trial."""
    axes.plot([x], [y], "o", ms=11, mfc="none", mec=BEST, mew=2, zorder=6)


def ticks(parameter: Parameter) -> list[float]:
    """Returns round values between a number's bounds: decades, powers of two for whole numbers, or even steps."""
    low, high = parameter.low, parameter.high
    if not parameter.log:
        steps = MaxNLocator(5, integer=parameter.whole).tick_values(low, high)
        return [float(v) for v in steps if low <= v <= high]
    base, factors = (2, [1]) if parameter.whole else (10, [1] if high / low >= 100 else [1, 2, 5])
    powers = range(math.floor(math.log(low, base)), math.ceil(math.log(high, base)) + 1)
    found = [factor * base**power for power in powers for factor in factors]
    kept = [float(v) for v in found if low * 0.999 <= v <= high * 1.001]
    return kept[:: -(-len(kept) // 8)] if kept else [low, high]


def tick_text(parameter: Parameter, value: float) -> str:
    """Returns a tick's label as one would type the value."""
    return str(round(value)) if parameter.whole or value == round(value) else text_of(value)


def scale(axes: Axes, which: str, parameter: Parameter) -> None:
    """Sets an axis (``x`` or ``y``) to a parameter: its range, log scale, ticks, and its key as label."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    )
    axis.set_label_text(parameter.name, fontsize=9, color=INK)
    if parameter.choices:
        axis.set_ticks(range(len(parameter.choices)), [text_of(c) or "none" for c in parameter.choices])
        set_limits(-0.5, len(parameter.choices) - 0.5)
        return
    low, high = parameter.low, parameter.high
    if parameter.log:
        set_scale("log")
        edge = (high / low) ** 0.04
        set_limits(low / edge, high * edge)
    else:
        edge = (high - low) * 0.04
        set_limits(low - edge, high + edge)
    axis.set_major_locator(FixedLocator(ticks(parameter)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(parameter, value)))
    axis.set_minor_formatter(NullFormatter())


def coordinate(parameter: Parameter, trial: FrozenTrial, spread: float = 0.0) -> float:
    """Returns where a trial stands on the axis of :func:`scale`; choices are spread a little, by trial number."""
    value = trial.params[parameter.name]
    if not parameter.choices:
        return float(value)
    return parameter.choices.index(value) + spread * ((trial.number * 0.618) % 1 - 0.5)


def legend(made: Figure, trials: Trials, *, failed: bool = True) -> None:
    """Writes above the picture what the marks mean, and how many of each there are."""

    def mark(marker: str, colour: str, name: str, **more: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, color=colour, label=name, ms=6, **more)

    marks = [mark("o", VAL, f"{len(trials.finished)} finished", mew=0)]
    if trials.pruned:
        lower = any(place(trial, limits(trials))[1] == "v" for trial in trials.pruned)
        note = " (triangles: lower)" if lower else ""
        marks.append(mark("o", PALE, f"{len(trials.pruned)} pruned, at their last epoch{note}", mew=0))
    if failed and trials.failed:
        marks.append(mark("x", TRAP, f"{len(trials.failed)} failed"))
    if trials.best:
        name = f"best: {title(trials.best)}, {score(trials.best):.3f}"
        marks.append(mark("o", BEST, name, mfc="none", mew=2))
    made.legend(
        handles=marks, loc="outside upper left", ncols=len(marks), frameon=False, fontsize=9, handletextpad=0.1,
        columnspacing=1.2, labelcolor=INK,
    )  # fmt: skip
