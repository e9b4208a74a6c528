"""A study: its best trials trained again, its pictures, all its trials."""

from __future__ import annotations

import csv
from typing import Any

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
)
from seedsweep.report.contents import STUDY, Material
from seedsweep.report.pictures import png_uri
from seedsweep.report.text import percent, short
from seedsweep.runs.record import METRICS
from seedsweep.stats.interval import over_seeds

ORDER = 15
FIRST = ("importances", "history")  # pictures shown without a click
ALT = {
    "importances": "Importance of each setting for the score",
    "history": "Score of each trial in the order of the trials, and the best so far",
    "slices": "Score against each setting",
    "contour": "Score over the two most important settings",
    "parallel": "Each trial as a line through all settings",
    "learning_curves": "Score of each trial over its epochs",
}
BEST = 10


def section(material: Material) -> Section | None:
    """Shows the re-evaluation of the best trials, pictures, and trials."""
    if material.kind != STUDY:
        return None
    blocks: list[Block] = [_finalists(material.result)]
    blocks.append(
        Text(
            "Ranked by the mean over fresh seeds; lines are 95 % t intervals over seeds. "
            f"Score: {_metric(material.result)}, {material.result.get('rule', '')}.",
            small=True,
        )
    )
    figures = {
        path.stem: Figure(ALT.get(path.stem, path.stem.replace("_", " ")), uri=png_uri(path))
        for path in sorted((material.folder / "plots").glob("*.png"))
    }
    first = [figures.pop(name) for name in FIRST if name in figures]
    if first:
        blocks.append(Figures(first, large=True))
    if figures:
        blocks.append(Folded("More pictures of the study", [Figures(list(figures.values()), large=True)]))
    trials = _trials(material)
    if trials is not None:
        blocks.append(Folded("The best trials", [trials]))
    return Section("study", "Study", blocks)


def _metric(result: dict[str, Any]) -> str:
    metric = str(result.get("metric"))
    return METRICS.get(metric, metric)


def _finalists(result: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for finalist in result.get("finalists", []):
        mean, values = float(finalist["mean"]), [float(value) for value in finalist["values"]]
        found = over_seeds(values)
        low, high = (max(0.0, found.low), min(1.0, found.high)) if found else (None, None)
        rows.append(
            [
                Number(
                    f"trial\N{NO-BREAK SPACE}{finalist['trial']}",
                    "the\N{NO-BREAK SPACE}start" if finalist["reference"] else "",
                ),
                ", ".join(map(short, finalist["settings"])) or "as it stands",
                Bar(mean, low, high, values),
                percent(mean),
                percent(float(finalist["value_in_study"])),
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


def _trials(material: Material) -> Table | None:
    try:
        with (material.folder / "trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError):
        return None
    done = sorted(
        (row for row in rows if row.get("state") == "finished"), key=lambda row: -float(row["value"] or 0)
    )
    if not done:
        return None
    known = ("trial", "slot", "state", "value", "epochs", "seconds", "reason")
    settings = [name for name in done[0] if name not in known]
    columns = [
        Column("trial"),
        Column("score, %", number=True),
        *[Column(name) for name in settings],
        Column("seconds", number=True, extra=True),
    ]
    body: list[list[Cell]] = [
        [
            str(row.get("slot") or row["trial"]),
            percent(float(row["value"])),
            *[_short(row.get(name) or "") for name in settings],
            _short(row.get("seconds") or ""),
        ]
        for row in done[:BEST]
    ]
    return Table(f"Best {len(body)} of {len(rows)} trials", columns, body)


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
