"""A study: its verdict in words, its best trials trained again, its pictures, and the best of all its trials."""

from __future__ import annotations

import csv
from collections import Counter
from typing import Any

import numpy as np

from seedsweep.names import open_csv
from seedsweep.overrides import shortened
from seedsweep.report.blocks import (
    Bar,
    Block,
    Cell,
    Column,
    Figure,
    Figures,
    Folded,
    Number,
    Section,
    Table,
    Text,
    p_value,
    percent,
    span,
    with_sign,
)
from seedsweep.report.contents import STUDY, Material
from seedsweep.report.embedded_images import png_uri
from seedsweep.runs.record import METRICS
from seedsweep.stats.interval import Interval, over_seeds
from seedsweep.stats.pairs import compare

ORDER = 15
FIRST = ("importances", "history")  # pictures shown without a click
ALT = {
    "importances": "Importance of each setting for the score",
    "history": "Score of each trial in the order of the trials, and the best so far",
    "slices": "Score against each setting",
    "contour": "Score over two settings",
    "parallel": "Each trial as a line through all settings",
    "learning_curves": "Score of each trial over its epochs",
}
BEST = 10
NO_SETTINGS = ("trial", "slot", "state", "value", "epochs", "seconds", "reason")  # columns of trials.csv
SPACE = "\N{NO-BREAK SPACE}"


def section(material: Material) -> Section | None:
    """Shows the re-evaluation of the best trials, pictures, and trials."""
    if material.kind != STUDY:
        return None
    rule = f"Score: {_metric(material)}, {material.result.get('rule', '')}."
    ranked = f"Ranked by the mean over fresh seeds; lines are 95 % t intervals over seeds. {rule}"
    blocks: list[Block] = [_trained_again(material.result), Text(ranked, small=True)]
    said = [material.result["winner"].get("chosen"), *material.result.get("edges", [])]
    blocks += [Text(each["sentence"]) for each in said if each]
    figures = {
        name: Figure(alt, alt, uri=uri)
        for name, alt in ALT.items()
        if (uri := png_uri(material.folder / "plots" / f"{name}.png"))
    }
    first = [figures.pop(name) for name in FIRST if name in figures]
    if first:
        blocks.append(Figures(first, large=True))
    if figures:
        blocks.append(Folded("More pictures of the study", [Figures(list(figures.values()), large=True)]))
    rows = _rows(material)
    if (trials := _trials(rows)) is not None:
        blocks.append(Folded("The best trials", [trials]))
    for reason, n in Counter(row["reason"] for row in rows if row.get("state") == "ended").items():
        blocks.append(Text(f"{n} of {len(rows)} trials ended early: {reason}.", small=True))
    return Section("study", "Study", blocks)


def study_in_words(material: Material) -> tuple[str, str]:
    """Returns which settings won, and how they compare with those that the study began with."""
    result, winner = material.result, material.result["winner"]
    n = sum(int(count) for count in result.get("trials", {}).values())
    settings = (
        ", ".join(f"`{shortened(each)}`" for each in winner["settings"]) or "the settings it began with"
    )
    seeds = len(winner["values"])
    lead = (
        f"Of {n} trials, {settings} won: validation {_metric(material)} {percent(winner['mean'])} %, the mean of "
        f"{seeds} fresh {'seed' if seeds == 1 else 'seeds'}"
    )
    test = winner.get("test", {})
    if "acc" in test:
        met = "on which earlier winners were scored, too" if test.get("met_before_by") else "scored once"
        if found := winner.get("test_accuracy"):
            met += f" (95 % {span(Interval(**found))}, over {found['over']})"
        lead += f", and {percent(test['acc']['mean'])} % of the test images, {met}"
    return f"{lead}.", _against_start(material, winner)


def _metric(material: Material) -> str:
    metric = str(material.result.get("metric"))
    return METRICS.get(metric, metric)


def _against_start(material: Material, winner: dict[str, Any]) -> str:
    start = next((each for each in material.result["finalists"] if each.get("reference")), None)
    if start is None:
        if winner.get("value_in_study") is None:
            return "No other setting was trained again."
        said = f"In the study itself it reached {percent(winner['value_in_study'])} %"
        if winner["value_in_study"] <= winner["mean"]:
            return f"{said}."
        return f"{said}: the best of many trials is partly luck, which fresh seeds leave out."
    if start["trial"] == winner.get("trial"):
        return "That is the setting the study began with: no other was better once trained again with fresh seeds."
    n = len(start["values"])
    seeds = "as many fresh seeds" if n == len(winner["values"]) else f"{n} fresh seed{'s' if n > 1 else ''}"
    less = with_sign(start["mean"] - winner["mean"]).lstrip("−")
    return (
        f"The setting the study began with reaches {percent(start['mean'])} % with {seeds}, {less} points "
        f"less{_compared(material, winner, start)}."
    )


def _compared(material: Material, winner: dict[str, Any], start: dict[str, Any]) -> str:
    """Says whether two settings differ in accuracy; nothing where their runs can't be paired."""
    ours, theirs = (
        [
            run.predictions["val"]
            for run in material.of_arm(f"trial {each['trial']}")
            if "val" in run.predictions
        ]
        for each in (winner, start)
    )
    pairs = list(zip(ours, theirs, strict=False))
    if len({len(each.labels) for pair in pairs for each in pair}) != 1:
        return ""
    first, second = (np.stack([each.correct for each in side]) for side in zip(*pairs, strict=True))
    found = compare(first, second, ours[0].groups)
    if found.p > 0.05:
        return f"; in accuracy the two are the same within noise ({p_value(found.p)})"
    return f"; in accuracy the difference is more than noise ({p_value(found.p)})"


def _trained_again(result: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for each in result["finalists"]:
        mean, values = float(each["mean"]), [float(value) for value in each["values"]]
        found = over_seeds(values)
        low, high = (max(0.0, found.low), min(1.0, found.high)) if found else (None, None)
        rows.append(
            [
                Number(f"trial{SPACE}{each['trial']}", f"the{SPACE}start" if each["reference"] else ""),
                ", ".join(map(shortened, each["settings"])) or "as it stands",
                Bar(mean, low, high, values),
                percent(mean),
                percent(float(each["value_in_study"])),
            ]
        )
    columns = [
        Column("trial"),
        Column("settings"),
        Column("fresh seeds", drawn=True),
        Column("mean, %", number=True),
        Column("in the study, %", number=True, extra=True),
    ]
    return Table("The best trials, trained again with fresh seeds", columns, rows)


def _rows(material: Material) -> list[dict[str, str]]:
    """Returns the rows of trials.csv; none where it can't be read."""
    try:
        with open_csv(material.folder / "trials.csv") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError):
        return []


def _trials(rows: list[dict[str, str]]) -> Table | None:
    done = [row for row in rows if row.get("state") == "finished"]
    done.sort(key=lambda row: -float(row["value"] or 0))
    if not done:
        return None
    settings = [name for name in done[0] if name not in NO_SETTINGS]
    body: list[list[Cell]] = [
        [
            str(row.get("slot") or row["trial"]),
            percent(float(row["value"])),
            *[_short(row.get(name) or "") for name in settings],
            _short(row.get("seconds") or ""),
        ]
        for row in done[:BEST]
    ]
    columns = [
        Column("trial"),
        Column("score, %", number=True),
        *[Column(name) for name in settings],
        Column("seconds", number=True, extra=True),
    ]
    return Table(f"Best {len(body)} of {len(rows)} trials", columns, body)


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
