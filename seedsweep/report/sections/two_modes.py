"""bn_gap: one set of training images, in train mode and in eval mode."""

from __future__ import annotations

from seedsweep.report.blocks import (
    Bar,
    Block,
    Cell,
    Column,
    Figure,
    Figures,
    Number,
    Section,
    Table,
    Text,
    percent,
    with_sign,
)
from seedsweep.report.contents import RUN, SWEEP, Material
from seedsweep.report.run_in_words import of_modes
from seedsweep.report.run_pictures import modes_svg
from seedsweep.report.sections.in_words import sentences
from seedsweep.runs.grid import GAP
from seedsweep.runs.run_result import RunResult

ORDER = 50
MEANING = (
    "One set of un-augmented training images, classified in train mode and in eval mode. An overfitted net classifies "
    "them correctly in both, a net with the BatchNorm fault only in train mode. Where BatchNorm is trained, a gap may "
    "also mean that its running statistics still lag behind."
)
COLUMNS = [
    Column("arm"),
    Column("BatchNorm", extra=True),
    Column("train mode", drawn=True),
    Column("%", number=True),
    Column("eval mode", drawn=True),
    Column("%", number=True),
    Column("bn_gap", number=True),
]


def section(material: Material) -> Section | None:
    """A row an arm, or the curves of a run; nothing of a run that diverged, behind which no whole training stands."""
    shown: Block
    told: list[Block] = []
    if material.kind == SWEEP:
        firsts = [next((r for r in material.of_row(row) if r.last_modes), None) for row in material.rows]
        rows = [_row(run) for run in firsts if run is not None]
        if not rows:
            return None
        shown = Table("The same training images in both modes, after the last epoch", COLUMNS, rows)
    else:
        run = material.best
        if run is None or run.is_diverged or run.last_modes is None:
            return None
        train, evaluated = map(percent, run.last_modes)
        alt = f"At the end {train} % in train mode and {evaluated} % in eval mode"
        svg = modes_svg(run.history, "modes")
        shown = Figures([Figure(alt, "Accuracy on training images", svg=svg)])
        said = of_modes(run, material.command_line) if material.kind == RUN else ""
        told = [Text(said)] if said and said not in sentences(material) else []
    return Section("batchnorm", "BatchNorm", [shown, *told, Text(MEANING, small=True)])


def _row(run: RunResult) -> list[Cell]:
    train, evaluated = run.last_modes or (0.0, 0.0)
    gap = train - evaluated
    loud = abs(gap) > GAP
    return [
        run.label,
        str(run.metrics.get("batchnorm", "")),
        Bar(train, filled=True),
        percent(train),
        Bar(evaluated, filled=True, trap=loud),
        percent(evaluated),
        Number(with_sign(gap), loud=loud),
    ]
