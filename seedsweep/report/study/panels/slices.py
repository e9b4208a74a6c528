"""Value against each setting alone."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seedsweep.report.study.axes import (
    coordinate,
    legend,
    limits,
    need_finished,
    ring,
    scale,
    scatter_pruned,
)
from seedsweep.report.study.trials import NothingToDrawError, Parameter, Trials, score
from seedsweep.report.style import VAL, figure, tidy

COLUMNS = 3


def draw(trials: Trials) -> Figure:
    """Draws the picture; needs a finished trial and a setting that varies."""
    need_finished(trials, 1)
    if not trials.parameters:
        raise NothingToDrawError("no setting varies.")
    columns = min(len(trials.parameters), COLUMNS)
    rows = -(-len(trials.parameters) // columns)
    made = figure(max(3.6 * columns, 7.5), 0.5 + 3.0 * rows)
    grid = made.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, parameter in zip(grid.flat, trials.parameters, strict=False):
        _slice(axes, parameter, trials)
    for axes in list(grid.flat)[len(trials.parameters) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel(trials.metric, fontsize=9)
    legend(made, trials, failed=False)
    return made


def _slice(axes: Axes, parameter: Parameter, trials: Trials) -> None:
    bounds = limits(trials)
    pruned = [t for t in trials.pruned if parameter.name in t.params]
    scatter_pruned(axes, [coordinate(parameter, t, 0.5) for t in pruned], pruned, bounds)
    finished = [t for t in trials.finished if parameter.name in t.params]
    axes.scatter(
        [coordinate(parameter, t, 0.5) for t in finished], [score(t) for t in finished],
        s=30, color=VAL, alpha=0.8, linewidths=0, zorder=4,
    )  # fmt: skip
    if trials.best and parameter.name in trials.best.params:
        ring(axes, coordinate(parameter, trials.best, 0.5), score(trials.best))
    tidy(axes)
    scale(axes, "x", parameter)
    if parameter.choices and sum(len(str(choice)) for choice in parameter.choices) > 30:
        axes.tick_params(axis="x", labelrotation=20)
    axes.set_ylim(*bounds)
