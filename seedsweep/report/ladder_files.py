"""Reads the ladder from a grid's jobs, and writes it down: ladder.json, ladder.csv, ladder.png, and the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.table import Table

from seedsweep.drawing import GREY, INK, TRAP, VAL, beside, figure, plain, save, sideways
from seedsweep.report.ladder_steps import PUT_BACK, RUNG, Arm, Ladder, Level, Step, TwoByTwo
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.settings import names_of, saved_settings
from seedsweep.whole import write_csv, write_json

log = logging.getLogger(__name__)

FILES = ("ladder.png", "ladder.json", "ladder.csv")
NOT_COMPARED = ("experiment", "rung", "seed", "paths", "preprocess", "batchnorm", "checkpoint", "resume")
Job = tuple[RunResult, dict[str, Any]]  # with its saved settings
HALF = 0.31  # of a bar's thickness
ROW = 0.44  # inches


def close_ladder(folder: Path, results: list[RunResult], console: Console) -> tuple[str, ...]:
    """Writes and prints the ladder where jobs are rungs; returns the names of the files, none where they are not."""
    if (ladder := read_ladder(folder, results)) is None:
        for name in FILES:  # of an earlier call, when it was one
            (folder / name).unlink(missing_ok=True)
        return ()
    content = as_dict(ladder)
    write_json(folder / "ladder.json", content)
    _write_csv(content, folder / "ladder.csv")
    draw_ladder(ladder, folder / "ladder.png")
    _print(ladder, console)
    return FILES


def read_ladder(folder: Path, results: list[RunResult]) -> Ladder | None:
    """Reads the arms of a grid's folder; None if they are no rungs, or of more than one net, setting or data set."""
    jobs: dict[str, list[Job]] = {}
    for result in results:
        settings = saved_settings(result.folder)
        if (settings.get("rung") or {}).get("kind"):
            jobs.setdefault(result.experiment, []).append((result, settings))
    for name, those in jobs.items():
        first, *others = (_compared(settings) for _, settings in those)
        if differing := [
            key for other in others for key in first | other if first.get(key) != other.get(key)
        ]:
            log.warning(
                "no ladder is drawn: the rung %s was run with more than one setting of something else (%s); give that "
                "one value, and climb again for the other.", name, ", ".join(dict.fromkeys(differing)),
            )  # fmt: skip
            return None
    if len({result.held_out for those in jobs.values() for result, _ in those if result.is_finished}) > 1:
        log.warning(
            "no ladder is drawn: its rungs were judged by different images, so that no step between them is a change "
            "of settings alone; climb again on one data set.",
        )  # fmt: skip
        return None
    ladder = Ladder([_arm(name, those) for name, those in jobs.items()])
    return ladder if ladder.rungs else None


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that all jobs of an arm must share, scaling and policy by what they come to."""
    others = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
    return names_of(settings) | others


def _arm(name: str, jobs: list[Job]) -> Arm:
    settings = jobs[0][1]
    rung, others = settings["rung"], _compared(settings)
    asked = {key: others.pop(key) for key in ("preprocess", "batchnorm")}
    done = [(result.seed, result.metrics) for result, _ in jobs if result.is_finished]
    last = done[-1][1] if done else {}
    gaps = [metrics["train_images"] for _, metrics in done]
    return Arm(
        name=name,
        kind=rung["kind"],
        after=rung.get("after", ""),
        label=rung.get("label") or name,
        change=rung.get("change") or name,
        scaling=last.get("preprocess", asked["preprocess"]),  # what the runs really did
        policy=last.get("batchnorm", asked["batchnorm"]),
        others=others,
        accs={seed: metrics["val"]["acc"] for seed, metrics in done},
        test_accs=[metrics["test"]["acc"] for _, metrics in done if metrics["test"]],
        bn_gaps=[gap["bn_gap_last"] for gap in gaps],
        images=last["images"]["val"] if done else {},
    )


def as_dict(ladder: Ladder) -> dict[str, Any]:
    """Returns the ladder for machines: accuracies as shares of the validation images, 0..1."""
    table = ladder.two_by_two()
    return {
        "metric": "val acc",
        "interval": "95 %, Student's t over seeds; deltas are paired by seed",
        "majority": ladder.majority,
        "chance": 1 / len(ladder.images) if ladder.images else None,
        "rungs": [asdict(step) for step in ladder.steps()],
        "put_back": [asdict(step) for step in ladder.steps(PUT_BACK)],
        "two_by_two": asdict(table) if table else None,
    }


def _write_csv(content: dict[str, Any], path: Path) -> None:
    names = [name for name in content["rungs"][0] if name != "seeds"]
    entries = [
        (kind, each) for kind, key in ((RUNG, "rungs"), (PUT_BACK, "put_back")) for each in content[key]
    ]
    rows = ([kind, *(each[name] for name in names)] for kind, each in entries)
    write_csv(path, ["kind", *names], rows, digits=5)


def _print(ladder: Ladder, console: Console) -> None:
    def say(line: str, style: str | None = None) -> None:
        console.print(line, style=style, soft_wrap=True, markup=False)

    labels = {arm.name: arm.label for arm in ladder.arms}
    say("\nthe ladder, one change at a time (validation images)", "bold")
    for step in ladder.steps():
        say(f"{'  ' if step.on_path else '     '}{step.sentence}", None if step.on_path else "dim")
    back = ladder.steps(PUT_BACK)
    for after in dict.fromkeys(step.after for step in back):
        say(f"\none fault alone, put back into: {labels.get(after or '', '?')}", "bold")
        for step in back:
            if step.after == after:
                say(f"  {step.sentence}")
    if (table := ladder.two_by_two()) is not None:
        say("\ntwo faults, all else as in the first rung", "bold")
        shown = Table("", *table.batchnorm, box=None, pad_edge=False, header_style="dim")
        for name, cells in zip(table.scaling, table.cells, strict=True):
            shown.add_row(f"  {name}", *map(_cell, cells))
        console.print(shown)
        say(f"  {table.sentence}")


def _cell(level: Level) -> str:
    if level.mean is None:
        return "no run"
    if level.low is None or level.high is None:
        return f"{level.mean:.3f}"
    return f"{level.mean:.3f} ± {(level.high - level.low) / 2:.3f}"


def draw_ladder(ladder: Ladder, path: Path) -> None:
    """Draws the ladder from its first rung on top to its last.

    A bar goes from the accuracy before a change to the accuracy after it. Hollow bars were tried, and nothing goes
    on from them. Whiskers are 95 % t intervals over seeds: in the waterfall of the accuracy, among the faults put
    back of the loss.
    """
    back, table = ladder.steps(PUT_BACK), ladder.two_by_two()
    is_wide = bool(back) or table is not None
    rows = max(len(ladder.rungs), len(back) + (5 if table else 0), 5)
    made = figure(13.5 if is_wide else 9.5, 1.7 + ROW * rows)
    grid = made.add_gridspec(2, 2 if is_wide else 1, width_ratios=[1.5, 1] if is_wide else [1],
                             height_ratios=[max(len(back), 1), 4.2 if table else 0.01])  # fmt: skip
    _waterfall(made.add_subplot(grid[:, 0]), ladder)
    if back:
        _put_back(made.add_subplot(grid[0, 1]), ladder, back)
    if table:
        _two_by_two(made.add_subplot(grid[1, 1]), table)
    save(made, path)


def _waterfall(axes: Axes, ladder: Ladder) -> None:
    means = {arm.name: arm.mean for arm in ladder.arms}
    steps = ladder.steps()
    places = {step.name: place for place, step in enumerate(steps)}
    for place, step in enumerate(steps):
        if step.mean is None:
            axes.text(0.02, place, "no run finished", va="center", color=GREY, fontsize=9)
            continue
        before = means.get(step.after or "")
        colour = INK if before is None else VAL if step.mean >= before else TRAP
        alpha = (0.3 if before is None else 0.75) if step.on_path else 1
        start = before or 0.0
        axes.barh(
            place, step.mean - start, 2 * HALF, start, facecolor=colour if step.on_path else "none", edgecolor=colour,
            linewidth=1.2, alpha=alpha,
        )  # fmt: skip
        axes.plot([step.mean] * 2, [place - HALF, place + HALF], color=colour, lw=2.5, solid_capstyle="butt")
        if before is not None and step.on_path and step.after in places:
            axes.plot([start] * 2, [places[step.after] + HALF, place - HALF], color=GREY, lw=0.8)
        accs = list(step.seeds.values())
        axes.plot(accs, [place] * len(accs), "o", ms=3.6, color=INK, mew=0)
        ends = [step.mean, start, *accs, *_whisker(axes, place, step.low, step.high)]
        change = "" if step.delta is None else f"  ({100 * step.delta:+.1f})"
        beside(axes, f"{step.mean:.3f}{change}", ends, place, right=max(ends) < 0.8)
    if ladder.majority is not None:
        axes.axvline(ladder.majority, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axes.text(
            ladder.majority + 0.008, len(steps) - 0.42, "always the largest class", va="center", fontsize=8,
            color=GREY,
        )  # fmt: skip
    _rows(axes, [f"{'' if step.on_path else 'beside: '}{step.label}" for step in steps], below=0.8)
    axes.set_xlim(0, 1.0)
    axes.set_xlabel(
        "validation accuracy; bars from before to after, hollow ones lead nowhere; dots: seeds, whiskers: 95 %",
        fontsize=9,
    )
    sideways(axes, "one change at a time, from top to bottom")


def _put_back(axes: Axes, ladder: Ladder, back: list[Step]) -> None:
    reached = [0.0]
    for place, step in enumerate(back):
        if step.delta is None:
            axes.text(0, place, " no run finished", va="center", color=GREY, fontsize=9)
            continue
        points = 100 * step.delta
        axes.barh(place, points, height=2 * HALF, color=TRAP if points < 0 else VAL, alpha=0.75)
        ends = [points, *_whisker(axes, place, step.delta_low, step.delta_high, scale=100)]
        reached += ends
        beside(axes, f"{points:+.1f}", [0.0, *ends], place)
    labels = {arm.name: arm.label for arm in ladder.arms}
    several = len({step.after for step in back}) > 1
    names = [
        f"{step.label}\n(in: {labels[step.after]})" if several and step.after else step.label for step in back
    ]
    _rows(axes, names, below=0.6)
    width = max(reached) - min(reached) or 1.0
    axes.set_xlim(min(reached) - 0.04 * width, max(reached) + 0.2 * width)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("points of validation accuracy", fontsize=9)
    sideways(axes, "one fault alone, put back")


def _whisker(
    axes: Axes, place: int, low: float | None, high: float | None, scale: float = 1
) -> tuple[float, ...]:
    """Draws an interval, if there is one, and returns its ends."""
    if low is None or high is None:
        return ()
    ends = scale * low, scale * high
    axes.plot(ends, [place, place], color=INK, lw=1.3)
    return ends


def _rows(axes: Axes, names: Iterable[str], below: float) -> None:
    labels = [plain(name) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 1 + below, -0.7)


def _two_by_two(axes: Axes, table: TwoByTwo) -> None:
    for row, cells in enumerate(table.cells):
        for column, level in enumerate(cells):
            shade = 0.75 * (level.mean or 0.0)
            axes.add_patch(
                Rectangle((column, row), 1, 1, facecolor=VAL, alpha=shade, edgecolor="white", lw=3)
            )
            middle = column + 0.5, row + 0.5
            axes.text(*middle, _cell(level), ha="center", va="center", fontsize=11, color=INK)
    axes.set_xlim(0, 2)
    axes.set_ylim(2, 0)
    axes.set_xticks([0.5, 1.5], [f"BatchNorm:\n{name}" for name in table.batchnorm])
    axes.set_yticks([0.5, 1.5], [name.replace(" ", "\n", 1) for name in table.scaling])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.set_title(
        "the two faults together, all else as in the first rung", loc="left", fontsize=11, color=INK
    )
