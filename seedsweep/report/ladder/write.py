"""Writes the ladder down: ladder.json, ladder.csv, ladder.png, and the terminal."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seedsweep.report.ladder import effects
from seedsweep.report.ladder.draw import draw_ladder
from seedsweep.report.ladder.effects import BATCH, ONCE, STORED, TWICE, Effect, TwoByTwo
from seedsweep.report.ladder.read import Ladder, read_ladder
from seedsweep.runs.run_result import RunResult
from seedsweep.stats.interval import Interval
from seedsweep.whole import write_json

FILES = ("ladder.png", "ladder.json", "ladder.csv")
SCALINGS = {TWICE: "inputs scaled twice", ONCE: "inputs scaled once"}
POLICIES = {BATCH: "batch statistics in training", STORED: "stored statistics always"}


def close_ladder(folder: Path, results: list[RunResult], console: Console) -> tuple[str, ...]:
    """Writes and prints the ladder where the jobs of a grid are rungs.

    Args:
        folder: of the grid.
        results: its jobs.
        console: gets the sentences and the two-by-two table.

    Returns:
        The names of the files written; none where the grid is no ladder.
    """
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


def as_dict(ladder: Ladder) -> dict[str, Any]:
    """Returns the ladder for machines: accuracies as shares of the validation images, 0..1."""
    table = effects.two_by_two(ladder)
    return {
        "metric": "val acc",
        "interval": "95 %, Student's t over seeds; deltas are paired by seed",
        "majority": ladder.majority,
        "chance": ladder.chance,
        "rungs": [_entry(effect, ladder) for effect in effects.rungs(ladder)],
        "put_back": [_entry(effect, ladder) for effect in effects.put_back(ladder)],
        "two_by_two": _table(table) if table else None,
    }


def _entry(effect: Effect, ladder: Ladder) -> dict[str, Any]:
    arm = effect.arm
    return {
        "name": arm.name,
        "label": arm.label,
        "change": arm.change,
        "after": effect.before.name if effect.before else None,
        "on_path": arm.name in ladder.path,
        "n": len(arm.accs),
        **_ends(effect.level),
        "delta": effect.delta.value if effect.delta else None,
        "delta_low": _finite(effect.delta.low) if effect.delta else None,
        "delta_high": _finite(effect.delta.high) if effect.delta else None,
        "test": statistics.fmean(arm.test_accs.values()) if arm.test_accs else None,
        "bn_gap": statistics.fmean(arm.bn_gaps) if arm.bn_gaps else None,
        "seeds": {str(seed): acc for seed, acc in sorted(arm.accs.items())},
        "sentence": effect.sentence,
    }


def _table(table: TwoByTwo) -> dict[str, Any]:
    return {
        "scaling": list(SCALINGS.values()),
        "batchnorm": list(POLICIES.values()),
        "cells": [[_ends(table.cells[scaling, policy]) for policy in POLICIES] for scaling in SCALINGS],
        "interaction": _ends(table.interaction),
        "sentence": table.sentence,
    }


def _ends(interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {"mean": None, "low": None, "high": None}
    return {"mean": interval.value, "low": _finite(interval.low), "high": _finite(interval.high)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _write_csv(content: dict[str, Any], path: Path) -> None:
    names = [name for name in content["rungs"][0] if name != "seeds"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["kind", *names], extrasaction="ignore")
        writer.writeheader()
        for kind in ("rungs", "put_back"):
            for entry in content[kind]:
                rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in entry.items()}
                writer.writerow({"kind": kind.removesuffix("s"), **rounded})


def _print(ladder: Ladder, console: Console) -> None:
    def say(line: str, style: str | None = None) -> None:
        console.print(line, style=style, soft_wrap=True, markup=False)

    say("\nthe ladder, one change at a time (validation images)", "bold")
    for effect in effects.rungs(ladder):
        aside = effect.arm.name not in ladder.path
        say(f"{'     ' if aside else '  '}{effect.sentence}", "dim" if aside else None)
    back = effects.put_back(ladder)
    for place, effect in enumerate(back):
        if place == 0 or effect.before is not back[place - 1].before:
            say(f"\none fault alone, put back into: {effect.before.label if effect.before else '?'}", "bold")
        say(f"  {effect.sentence}")
    if (table := effects.two_by_two(ladder)) is not None:
        say("\ntwo faults, all else as in the first rung", "bold")
        shown = Table("", *POLICIES.values(), box=None, pad_edge=False, header_style="dim")
        for scaling, name in SCALINGS.items():
            shown.add_row(f"  {name}", *(_cell(table.cells[scaling, policy]) for policy in POLICIES))
        console.print(shown)
        say(f"  {table.sentence}")


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "no run"
    half = f" ± {(interval.high - interval.low) / 2:.3f}" if math.isfinite(interval.low) else ""
    return f"{interval.value:.3f}{half}"
