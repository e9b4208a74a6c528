"""The arms of a sweep with their intervals."""

from __future__ import annotations

import statistics

from seedsweep.report.blocks import (
    Bar,
    Block,
    Cell,
    Column,
    Number,
    Section,
    Table,
    Text,
    percent,
    seconds,
    span,
    with_sign,
)
from seedsweep.report.contents import SWEEP, Material
from seedsweep.report.grid_results import (
    LARGEST,
    SAME,
    UNDECIDED,
    by_reason,
    explained,
    judged_by,
    majority_of,
    mark,
    notes,
)
from seedsweep.report.sections.in_words import ranking_in_words
from seedsweep.runs.grid import GAP, ArmRow, by_data, data_title, has_several, test_interval
from seedsweep.stats.interval import Interval

ORDER = 10
MEANINGS = {SAME: f"{SAME} same within noise", UNDECIDED: f"{UNDECIDED} too few to tell"}
GAP_MEANS = (
    "bn_gap: points of accuracy, on the same training images, in train mode less eval mode; red beyond 5."
)


def section(material: Material) -> Section | None:
    """A row an arm, in a table for each data set."""
    if material.kind != SWEEP or not material.rows:
        return None
    groups = by_data(material.rows)
    several = has_several(groups)
    blocks: list[Block] = []
    for number, group in enumerate(groups, 1):
        if done := [row for row in group if row.mean is not None]:
            about = f"Arms on {data_title(number, group)}, best first" if several else "Arms, best first"
            blocks += [Text(ranking_in_words(material, done))] if several else []
            blocks += [
                _table(about, done, material),
                Text(" ".join([*explained(done), GAP_MEANS]), small=True),
            ]
            blocks += [Text(row.departs, small=True) for row in done if row.departs]
            blocks += [Text(f"`{row.label}`, {text}.") for row in done for text in row.early]
        on = f" on data set {number}" if several else ""
        blocks += [
            Text(f"`{row.label}`, seed {seed}{on}, {reason}.")
            for row in group
            for seed, reason in row.diverged
        ]
    blocks += [
        Text(f"`{row.label}`, seed{'s' * (',' in seeds)} {seeds}, failed: {reason}")
        for row in material.rows
        for reason, seeds in by_reason(row.failures).items()
    ]
    blocks += [Text(each.text) for each in material.behind]
    return Section("arms", "Arms", blocks)


def _table(about: str, done: list[ArmRow], material: Material) -> Table:
    rows = [_row(row, test_interval(material.of_row(row))) for row in done]
    faint = []
    if (majority := majority_of(done)) is not None:
        faint = [len(rows)]
        rows.append([LARGEST, Bar(majority), percent(majority), "", "", "", "", ""])
    columns = [
        Column("arm"),
        Column(judged_by(done), drawn=True),
        Column("%", number=True),
        Column("macro-F1, %", number=True, extra=True),
        Column("validation, %" if done[0].over else "test, %", number=True),
        Column("bn_gap", number=True),
        Column("time", number=True, extra=True),
        Column("runs" if done[0].over else "seeds", number=True, extra=True),
    ]
    return Table(about, columns, rows, faint=faint)


def _row(row: ArmRow, of_test: Interval | None) -> list[Cell]:
    assert row.mean is not None
    found = row.standing
    gap = statistics.fmean(row.bn_gaps)
    low, high = (found.interval.low, found.interval.high) if found else (None, None)
    other = statistics.fmean(row.other_accs) if row.other_accs else None
    return [
        Number(row.label, " ".join(filter(None, (MEANINGS.get(mark(row), ""), notes(row))))),
        Bar(row.mean, low, high, row.accs if len(row.accs) > 1 else (), trap=abs(gap) > GAP),
        Number(percent(row.mean), span(found.interval) if found else ""),
        percent(statistics.fmean(row.macro_f1s)),
        Number(percent(other), span(of_test) if of_test else ""),
        Number(with_sign(gap), loud=abs(gap) > GAP),
        seconds(statistics.fmean(row.seconds)),
        str(len(row.accs)),
    ]
