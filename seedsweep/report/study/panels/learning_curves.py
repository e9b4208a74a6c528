"""The value of every trial, epoch by epoch."""

from __future__ import annotations

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial

from seedsweep.report.study.axes import BEST, COLOURS, PALE, norm
from seedsweep.report.study.trials import NothingToDrawError, Trials, score, title
from seedsweep.report.style import INK, figure, tidy


def draw(trials: Trials) -> Figure:
    """Draws the picture; needs a trial that reported an epoch."""
    finished = sorted((t for t in trials.finished if t.intermediate_values), key=score)
    if not finished and not trials.pruned:
        raise NothingToDrawError("no trial reported its epochs.")
    made = figure(10, 4.6)
    axes = made.subplots()
    for trial in trials.pruned:
        line = _line(trial)
        axes.plot(*zip(*line, strict=True), color=PALE, linewidth=0.9, zorder=1)
        axes.plot(*line[-1], "o", ms=3.2, color=PALE, mew=0, zorder=1)
    if finished:
        colours = norm(trials)
        lines = LineCollection(
            [_line(t) for t in finished], cmap=COLOURS, norm=colours, linewidths=1.3, zorder=2
        )
        lines.set_array([score(t) for t in finished])
        axes.add_collection(lines)
        if len(finished) > 1:
            bar = made.colorbar(lines, ax=axes, pad=0.01, extend="min", aspect=30)
            bar.set_label(f"{trials.metric} at the end", fontsize=9)
            bar.ax.tick_params(labelsize=8)
            bar.outline.set_visible(False)  # type: ignore[operator]
    if trials.best and trials.best.intermediate_values:
        line = _line(trials.best)
        axes.plot(*zip(*line, strict=True), color=BEST, linewidth=2.4, zorder=3)
    axes.autoscale_view()
    tidy(axes, f"{trials.metric} after each epoch")
    notes = [f"grey: {len(trials.pruned)} pruned trials"] if trials.pruned else []
    notes += [f"brown: {title(trials.best)}, the best"] if trials.best else []
    axes.set_title("; ".join(notes), loc="right", fontsize=9, color=INK)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return made


def _line(trial: FrozenTrial) -> list[tuple[float, float]]:
    return [(step + 1, value) for step, value in sorted(trial.intermediate_values.items())]
