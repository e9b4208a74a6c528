"""comparison.png: the arms of a grid, every seed a dot."""

from __future__ import annotations

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seedsweep.drawing import GREY, INK, TRAP, VAL, figure, plain, save, sideways
from seedsweep.report.grid_table import SAME, SAME_MEANS, UNDECIDED, mark
from seedsweep.runs.grid import ArmRow, by_data, data_title, has_several


def draw_comparison(rows: list[ArmRow], path: Path) -> None:
    """Draws validation accuracy with its interval, and bn_gap, of each arm, best on top, those without a result grey.

    Where the arms were judged by different images, those of each data set stand together, under its title.
    """
    groups = by_data(rows)
    titles = [data_title(number, group) for number, group in enumerate(groups, 1)]
    titles = titles if has_several(groups) else []
    names = 0.08 * max((len(row.label) for row in rows), default=0)  # inches of the longest one
    made = figure(9.6 + names, 1.8 + 0.42 * max(len(rows) + len(titles), 1))
    acc, gap = made.subplots(1, 2, sharey=True, width_ratios=[2.2, 1])
    places: list[int] = []
    y = 0
    for number, group in enumerate(groups):
        if titles:
            acc.text(0.0, y - 0.1, plain(titles[number]), va="center", fontsize=9, weight="bold", color=INK)
            y += 1
        for row in group:
            _draw_arm(acc, gap, row, y)
            places.append(y)
            y += 1
        _draw_baseline(acc, group, y - len(group), y - 1)
    acc.set_yticks(places, [plain(row.label) for group in groups for row in group])
    acc.set_ylim(y - 0.4, -0.9)
    acc.set_xlim(0, 1.01)
    judged = any(row.standing for row in rows)
    marks = {mark(row) for row in rows}
    key = ["dots: seeds", "bar: mean"]
    key += ["line: 95 % interval"] * judged
    key += [f"{SAME} {SAME_MEANS}"] * (SAME in marks)
    key += [f"{UNDECIDED} too few images to tell"] * (UNDECIDED in marks)
    acc.set_xlabel("    ".join(key), fontsize=8, color=GREY, loc="left")
    for axes, title in ((acc, "validation accuracy"), (gap, "bn_gap of the last epoch")):
        sideways(axes, title)
    gap.axvline(0, color=INK, linewidth=0.8)
    low, high = gap.get_xlim()
    gap.set_xlim(min(low, -0.05), max(high, 0.1))
    gap.xaxis.set_major_locator(MaxNLocator(4))
    save(made, path)


def _draw_arm(acc: Axes, gap: Axes, row: ArmRow, place: int) -> None:
    if row.mean is None:
        acc.text(0.02, place, row.why_none, va="center", color=GREY, fontsize=9)
        return
    acc.plot(row.val_accs, [place] * len(row.val_accs), "o", ms=6, alpha=0.45, color=VAL, mew=0)
    acc.plot([row.mean], [place], "|", ms=16, mew=2.5, color=VAL)
    right = row.mean < 0.85
    ends = list(row.val_accs)
    if row.standing is not None:
        low, high = row.standing.interval.low, row.standing.interval.high
        acc.plot([low, high], [place, place], "-", linewidth=1.4, color=VAL, alpha=0.8)
        ends += [low, high]
    acc.annotate(
        f"{row.mean:.3f} {mark(row)}".rstrip(),
        (max(ends) if right else min(ends), place),
        xytext=(9 if right else -9, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=9,
        color=INK,
    )
    gap.barh(place, statistics.fmean(row.bn_gaps), height=0.5, color=TRAP, alpha=0.75)
    gap.plot(row.bn_gaps, [place] * len(row.bn_gaps), ".", ms=5, color=INK, alpha=0.5)


def _draw_baseline(acc: Axes, group: list[ArmRow], first: int, last: int) -> None:
    """Draws what always the largest class gives, beside the arms that were judged by the same images."""
    majority = next((row.majority for row in group if row.majority is not None), None)
    if majority is None:
        return
    acc.plot([majority] * 2, [first - 0.5, last + 0.5], color=GREY, linestyle="--", linewidth=1)
    acc.text(majority + 0.008, first - 0.6, "always the largest class", va="center", fontsize=8, color=GREY)
