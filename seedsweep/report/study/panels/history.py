"""Each trial's value in the order of the trials, and the best so far."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seedsweep.report.study.axes import legend, limits, need_finished, ring, scatter_pruned
from seedsweep.report.study.trials import Trials, score, slot_of
from seedsweep.report.style import INK, TRAP, VAL, figure, tidy


def draw(trials: Trials) -> Figure:
    """Draws the picture; needs one finished trial."""
    need_finished(trials, 1)
    made = figure(10, 4.2)
    axes = made.subplots()
    bounds = limits(trials)
    scatter_pruned(axes, [float(slot_of(t)) for t in trials.pruned], trials.pruned, bounds)
    axes.plot(
        [slot_of(t) for t in trials.failed],
        [bounds[0] + 0.03 * (bounds[1] - bounds[0])] * len(trials.failed),
        "x", ms=6, mew=1.6, color=TRAP, zorder=3,
    )  # fmt: skip
    numbers = [slot_of(t) for t in trials.finished]
    values = [score(t) for t in trials.finished]
    last = max(slot_of(t) for t in [*trials.finished, *trials.pruned, *trials.failed])
    so_far = list(accumulate(values, max))
    axes.step([*numbers, last], [*so_far, so_far[-1]], where="post", color=INK, linewidth=1.1, alpha=0.7)
    axes.scatter(numbers, values, s=34, color=VAL, linewidths=0, zorder=4)
    assert trials.best is not None
    ring(axes, slot_of(trials.best), score(trials.best))
    tidy(axes, f"{trials.metric} of each trial, best so far")
    axes.set_ylim(*bounds)
    axes.set_xlim(-0.02 * last - 0.5, 1.02 * last + 0.5)
    axes.set_xlabel("trial", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    legend(made, trials)
    return made
