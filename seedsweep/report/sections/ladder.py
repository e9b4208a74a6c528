"""The ladder, where there is one: what each change on the way up was worth, and each put back alone."""

from __future__ import annotations

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
from seedsweep.report.contents import Material
from seedsweep.report.pictures import png_uri
from seedsweep.report.text import DASH, percent, with_sign

ORDER = 12


def section(material: Material) -> Section | None:
    """Its picture, the rungs, each fault put back alone, and the two-by-two."""
    content = material.ladder
    blocks: list[Block] = []
    figures = [
        Figure("The ladder: accuracy after each change, with intervals", uri=uri)
        for path in sorted(material.folder.glob("ladder*.png"))
        if (uri := png_uri(path))
    ]
    if figures:
        blocks.append(Figures(figures, large=True))
    rungs, back = content.get("rungs") or [], content.get("put_back") or []
    if rungs:
        blocks.append(_changes("One change at a time", rungs, "rung"))
    labels = {rung.get("name"): rung.get("label") for rung in rungs}
    for base in dict.fromkeys(
        entry.get("after") for entry in back
    ):  # one thing is worth more here than there
        into = labels.get(base) or base
        caption = f"One thing alone, put back into: {into}" if into else "One thing alone, put back"
        blocks.append(_changes(caption, [entry for entry in back if entry.get("after") == base], "put back"))
    if table := content.get("two_by_two"):
        blocks += [_two_by_two(table), Text(str(table.get("sentence", "")))]
    told = [Text(str(entry["sentence"])) for entry in [*rungs, *back] if entry.get("sentence")]
    if told:
        blocks.append(Folded("In words", told))
    if rungs and content.get("interval"):
        blocks.append(Text(f"Validation images. Intervals: {content['interval']}.", small=True))
    return Section("ladder", "Ladder", blocks) if blocks else None


def _changes(caption: str, entries: list[dict[str, Any]], name: str) -> Table:
    columns = [
        Column(name),
        Column("validation accuracy", drawn=True),
        Column("%", number=True),
        Column("change, points", number=True),
        Column("bn_gap", number=True, extra=True),
    ]
    return Table(caption, columns, [_row(entry) for entry in entries])


def _row(entry: dict[str, Any]) -> list[Cell]:
    mean, low, high = (entry.get(key) for key in ("mean", "low", "high"))
    label = str(entry.get("label") or entry.get("name") or "")
    if mean is None:
        return [label, "", "failed", "", ""]
    if low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    seeds = [float(value) for value in (entry.get("seeds") or {}).values()]
    delta, gap = entry.get("delta"), entry.get("bn_gap")
    ends = [entry.get("delta_low"), entry.get("delta_high")]
    return [
        label,
        Bar(mean, low, high, seeds if len(seeds) > 1 else ()),
        percent(mean),
        Number(
            DASH if delta is None else with_sign(delta),
            " to ".join(with_sign(end) for end in ends if end is not None) if None not in ends else "",
        ),
        DASH if gap is None else with_sign(gap),
    ]


def _two_by_two(table: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for name, cells in zip(table.get("scaling", []), table.get("cells", []), strict=False):
        row: list[Cell] = [str(name)]
        for cell in cells:
            ends = (cell.get("low"), cell.get("high"))
            below = "" if None in ends else f"{percent(ends[0])}{DASH}{percent(ends[1])}"
            row.append(Number(percent(cell.get("mean")), below))
        rows.append(row)
    names = [Column(str(name), number=True) for name in table.get("batchnorm", [])]
    return Table(
        "Two faults, all else as in the first rung: validation accuracy, %", [Column("inputs"), *names], rows
    )
