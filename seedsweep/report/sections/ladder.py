"""The ladder, where there is one: what each change on the way up was worth, and each put back alone."""

from __future__ import annotations

from typing import Any

from seedsweep.report.blocks import (
    DASH,
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
    percent,
    with_sign,
)
from seedsweep.report.contents import Material
from seedsweep.report.embedded_images import png_uri

ORDER = 12
Entry = dict[str, Any]  # a step, as ladder.json holds it


def section(material: Material) -> Section | None:
    """Its picture, the rungs, each fault put back alone, and the two-by-two."""
    content = material.ladder
    blocks: list[Block] = []
    if uri := png_uri(material.folder / "ladder.png"):
        alt = "The ladder: accuracy after each change, with intervals"
        blocks.append(Figures([Figure(alt, uri=uri)], large=True))
    rungs: list[Entry] = content.get("rungs") or []
    back: list[Entry] = content.get("put_back") or []
    if rungs:
        blocks.append(_changes("One change at a time", rungs, "rung"))
    labels = {rung.get("name"): rung.get("label") for rung in rungs}
    for base in dict.fromkeys(entry.get("after") for entry in back):  # a fault costs more here than there
        into = labels.get(base) or base
        caption = f"One thing alone, put back into: {into}" if into else "One thing alone, put back"
        blocks.append(_changes(caption, [entry for entry in back if entry.get("after") == base], "put back"))
    if table := content.get("two_by_two"):
        blocks += [_two_by_two(table), Text(str(table.get("sentence", "")))]
    if words := [Text(str(entry["sentence"])) for entry in [*rungs, *back] if entry.get("sentence")]:
        blocks.append(Folded("In words", words))
    if rungs and content.get("interval"):
        blocks.append(Text(f"Validation images. Intervals: {content['interval']}.", small=True))
    return Section("ladder", "Ladder", blocks) if blocks else None


def _changes(caption: str, entries: list[Entry], name: str) -> Table:
    columns = [
        Column(name),
        Column("validation accuracy", drawn=True),
        Column("%", number=True),
        Column("change, points", number=True),
        Column("bn_gap", number=True, extra=True),
    ]
    return Table(caption, columns, [_row(entry) for entry in entries])


def _row(entry: Entry) -> list[Cell]:
    mean, low, high = (entry.get(key) for key in ("mean", "low", "high"))
    label = str(entry.get("label") or entry.get("name") or "")
    if mean is None:
        return [label, "", "failed", "", ""]
    if low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    seeds = [float(value) for value in (entry.get("seeds") or {}).values()]
    delta, gap = entry.get("delta"), entry.get("bn_gap")
    ends: list[Any] = [entry.get("delta_low"), entry.get("delta_high")]
    return [
        label,
        Bar(mean, low, high, seeds if len(seeds) > 1 else ()),
        percent(mean),
        Number(
            DASH if delta is None else with_sign(delta),
            "" if None in ends else " to ".join(map(with_sign, ends)),
        ),
        DASH if gap is None else with_sign(gap),
    ]


def _two_by_two(table: Entry) -> Table:
    rows: list[list[Cell]] = []
    for name, cells in zip(table.get("scaling", []), table.get("cells", []), strict=False):
        row: list[Cell] = [str(name)]
        for cell in cells:
            ends = cell.get("low"), cell.get("high")
            row.append(
                Number(percent(cell.get("mean")), "" if None in ends else DASH.join(map(percent, ends)))
            )
        rows.append(row)
    columns = [Column("inputs"), *[Column(str(name), number=True) for name in table.get("batchnorm", [])]]
    return Table("Two faults, all else as in the first rung: validation accuracy, %", columns, rows)
