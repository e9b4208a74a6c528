"""bn_gap: one set of training images, in train mode and in eval mode."""

from __future__ import annotations

from seedsweep.report.blocks import Bar, Block, Cell, Column, Figure, Figures, Number, Section, Table, Text
from seedsweep.report.contents import SWEEP, Material
from seedsweep.report.run_pictures import modes_svg
from seedsweep.report.text import percent, with_sign
from seedsweep.runs.grid import GAP
from seedsweep.runs.record import divergence_of
from seedsweep.runs.run_result import RunResult

ORDER = 50
TOLD = (
    "One set of un-augmented training images, classified in train mode and in eval mode. An overfitted net classifies "
    "them correctly in both, a net with the BatchNorm fault only in train mode. Where BatchNorm is trained, a gap may "
    "also mean that its running statistics still lag behind."
)


def section(material: Material) -> Section | None:
    """A row an arm, or the curves of a run."""
    if material.kind == SWEEP:
        firsts = [next((r for r in material.of_row(row) if r.last_modes), None) for row in material.rows]
        runs = [run for run in firsts if run is not None]
    elif material.best is not None and divergence_of(material.best.metrics):
        return None  # no whole training stands behind the numbers
    else:
        runs = [material.best] if material.best is not None and material.best.last_modes else []
    if not runs:
        return None
    blocks: list[Block] = []
    if material.kind != SWEEP:
        svg = modes_svg(runs[0].history, "modes")
        train, evaluated = runs[0].last_modes or (0.0, 0.0)
        alt = f"At the end {percent(train)} % in train mode and {percent(evaluated)} % in eval mode"
        blocks.append(Figures([Figure(alt, "Accuracy on training images", svg=svg)]))
    else:
        columns = [
            Column("arm"),
            Column("BatchNorm", extra=True),
            Column("train mode", drawn=True),
            Column("%", number=True),
            Column("eval mode", drawn=True),
            Column("%", number=True),
            Column("bn_gap", number=True),
        ]
        caption = "The same training images in both modes, after the last epoch"
        blocks.append(Table(caption, columns, list(map(_row, runs))))
    return Section("batchnorm", "BatchNorm", [*blocks, Text(TOLD, small=True)])


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
