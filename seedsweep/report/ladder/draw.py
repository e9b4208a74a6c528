"""ladder.png: the waterfall, the faults put back, and the two-by-two table."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from seedsweep.drawing import GREY, INK, TRAP, VAL, figure, save, sideways
from seedsweep.report.ladder import effects
from seedsweep.report.ladder.effects import BATCH, ONCE, STORED, TWICE, Effect, TwoByTwo
from seedsweep.report.ladder.read import Ladder
from seedsweep.stats.interval import Interval

HALF = 0.31  # of a bar's thickness
ROW = 0.44  # inches


def draw_ladder(ladder: Ladder, path: Path) -> None:
    """Draws the ladder from its first rung on top to its last.

    A bar goes from the accuracy before a change to the accuracy after it. Hollow bars were tried, and nothing goes
    on from them. Whiskers are 95 % t intervals over seeds: in the waterfall of the accuracy, among the faults put
    back of the loss.
    """
    rungs, back, table = effects.rungs(ladder), effects.put_back(ladder), effects.two_by_two(ladder)
    beside = bool(back) or table is not None
    rows = max(len(rungs), len(back) + (5 if table else 0), 5)
    made = figure(13.5 if beside else 9.5, 1.7 + ROW * rows)
    grid = made.add_gridspec(2, 2 if beside else 1, width_ratios=[1.5, 1] if beside else [1],
                             height_ratios=[max(len(back), 1), 4.2 if table else 0.01])  # fmt: skip
    _waterfall(made.add_subplot(grid[:, 0]), rungs, ladder)
    if back:
        _put_back(made.add_subplot(grid[0, 1]), back)
    if table:
        _two_by_two(made.add_subplot(grid[1, 1]), table)
    save(made, path)


def _waterfall(axes: Axes, rungs: list[Effect], ladder: Ladder) -> None:
    on_path = ladder.path
    for place, effect in enumerate(rungs):
        if effect.level is None:
            axes.text(0.02, place, "no run finished", va="center", color=GREY, fontsize=9)
            continue
        mean = effect.level.value
        before = effect.before.mean if effect.before and effect.before.mean is not None else None
        solid = effect.arm.name in on_path
        colour = INK if before is None else VAL if mean >= before else TRAP
        start = 0.0 if before is None else before
        axes.add_patch(
            Rectangle(
                (min(start, mean), place - HALF), abs(mean - start), 2 * HALF, linewidth=1.2, edgecolor=colour,
                facecolor=colour if solid else "none", alpha=(0.3 if before is None else 0.75) if solid else 1,
            )
        )  # fmt: skip
        axes.plot([mean, mean], [place - HALF, place + HALF], color=colour, lw=2.5, solid_capstyle="butt")
        if math.isfinite(effect.level.low):
            axes.plot([effect.level.low, effect.level.high], [place, place], color=INK, lw=1.3)
        axes.plot(
            list(effect.arm.accs.values()), [place] * len(effect.arm.accs), "o", ms=3.6, color=INK, mew=0
        )
        _label(axes, effect, place, start)
        if solid and (following := _following(rungs, place, on_path)) is not None:
            axes.plot([mean, mean], [place + HALF, following - HALF], color=GREY, lw=0.8)
    if ladder.majority is not None:
        axes.axvline(ladder.majority, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axes.text(
            ladder.majority + 0.008, len(rungs) - 0.42, "always the largest class", va="center", fontsize=8,
            color=GREY,
        )  # fmt: skip
    names = [f"{'' if e.arm.name in on_path else 'beside: '}{e.arm.label}" for e in rungs]
    axes.set_yticks(range(len(rungs)), names)
    axes.set_ylim(len(rungs) - 0.2, -0.7)
    axes.set_xlim(0, 1.0)
    axes.set_xlabel(
        "validation accuracy; bars from before to after, hollow ones lead nowhere; dots: seeds, whiskers: 95 %",
        fontsize=9,
    )
    sideways(axes, "one change at a time, from top to bottom")


def _label(axes: Axes, effect: Effect, place: int, start: float) -> None:
    """Writes the accuracy, and the change in points, where there is room beside bar and whisker."""
    level = effect.level
    assert level is not None
    ends = [level.value, start, *effect.arm.accs.values()]
    ends += [level.low, level.high] if math.isfinite(level.low) else []
    change = f"  ({100 * effect.delta.value:+.1f})" if effect.delta else ""
    right = max(ends) < 0.8
    axes.annotate(
        f"{level.value:.3f}{change}", (max(ends) if right else min(ends), place), xytext=(7 if right else -7, 0),
        textcoords="offset points", ha="left" if right else "right", va="center", fontsize=9, color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def _following(rungs: list[Effect], place: int, on_path: set[str]) -> int | None:
    """Returns the place of the next rung that goes on from here."""
    name = rungs[place].arm.name
    for later in range(place + 1, len(rungs)):
        before = rungs[later].before
        if rungs[later].arm.name in on_path and before is not None and before.name == name:
            return later
    return None


def _put_back(axes: Axes, back: list[Effect]) -> None:
    ends = [0.0]
    for place, effect in enumerate(back):
        if effect.delta is None:
            axes.text(0, place, " no run finished", va="center", color=GREY, fontsize=9)
            continue
        value, low, high = effect.delta.value, effect.delta.low, effect.delta.high
        colour = TRAP if value < 0 else VAL
        axes.barh(place, 100 * value, height=2 * HALF, color=colour, alpha=0.75)
        if math.isfinite(low):
            axes.plot([100 * low, 100 * high], [place, place], color=INK, lw=1.3)
        reach = [100 * value, *([100 * low, 100 * high] if math.isfinite(low) else [])]
        ends += reach
        axes.annotate(
            f"{100 * value:+.1f}", (max([0.0, *reach]), place), xytext=(7, 0), textcoords="offset points",
            va="center", fontsize=9, color=INK,
        )  # fmt: skip
    several = len({effect.arm.after for effect in back}) > 1
    names = [f"{e.arm.label}\n(in: {e.before.label})" if several and e.before else e.arm.label for e in back]
    axes.set_yticks(range(len(back)), names)
    axes.set_ylim(len(back) - 0.4, -0.7)
    width = max(ends) - min(ends) or 1.0
    axes.set_xlim(min(ends) - 0.04 * width, max(ends) + 0.2 * width)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("points of validation accuracy", fontsize=9)
    sideways(axes, "one fault alone, put back")


def _two_by_two(axes: Axes, table: TwoByTwo) -> None:
    for row, scaling in enumerate((TWICE, ONCE)):
        for column, policy in enumerate((BATCH, STORED)):
            cell = table.cells[scaling, policy]
            shade = 0.0 if cell is None else cell.value
            axes.add_patch(
                Rectangle((column, row), 1, 1, facecolor=VAL, alpha=0.75 * shade, edgecolor="white", lw=3)
            )
            axes.text(column + 0.5, row + 0.5, _cell(cell), ha="center", va="center", fontsize=11, color=INK)
    axes.set_xlim(0, 2)
    axes.set_ylim(2, 0)
    axes.set_xticks(
        [0.5, 1.5], ["BatchNorm:\nbatch statistics in training", "BatchNorm:\nstored statistics always"]
    )
    axes.set_yticks([0.5, 1.5], ["inputs\nscaled twice", "inputs\nscaled once"])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.set_title(
        "the two faults together, all else as in the first rung", loc="left", fontsize=11, color=INK
    )


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "no run"
    if not math.isfinite(interval.low):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f}\n{interval.low:.3f} to {interval.high:.3f}"
