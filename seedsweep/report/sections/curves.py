"""Loss and accuracy over the epochs, the best one marked."""

from __future__ import annotations

from seedsweep.report.blocks import Block, Figure, Figures, Folded, Section, Text, percent
from seedsweep.report.contents import SWEEP, Material
from seedsweep.report.run_pictures import curve_svg
from seedsweep.runs.run_result import RunResult

ORDER = 40
SHOWN = 6  # arms without a click


def section(material: Material) -> Section | None:
    """Of a run: loss and accuracy; of a sweep: accuracy of each arm's first run."""
    if material.kind == SWEEP:
        figures = [
            _figure(run, "acc", f"{number}", run.label)
            for number, row in enumerate(material.rows)
            if (run := next((run for run in material.of_row(row) if run.history), None)) is not None
        ]
        blocks: list[Block] = [Figures(figures[:SHOWN])] if figures else []
        if len(figures) > SHOWN:
            blocks.append(Folded(f"{len(figures) - SHOWN} more arms", [Figures(figures[SHOWN:])]))
        note = "Accuracy of each arm's first run. The dotted line marks the epoch whose weights were kept."
    elif material.best is not None and material.best.history:
        pair = [("loss", "Loss"), ("acc", "Accuracy")]
        blocks = [Figures([_figure(material.best, quantity, "run", title) for quantity, title in pair])]
        note = f"The dotted line marks the epoch whose weights were kept; {_during(material.best)}."
    else:
        return None
    return Section("curves", "Curves", [*blocks, Text(note, small=True)]) if blocks else None


def _during(run: RunResult) -> str:
    """Returns what the training curve was measured with, as far as the record says."""
    measured = "training is measured during the epoch, while the weights change"
    if run.switches is None:
        return measured
    acting = ["augmented images"] if run.switches.augment.name != "none" else []
    acting += ["dropout"] if run.switches.head.dropout or run.switches.backbone.dropout else []
    return f"{measured}, with {' and '.join(acting)}" if acting else measured


def _figure(run: RunResult, quantity: str, name: str, caption: str) -> Figure:
    best = run.metrics.get("best_epoch")
    title = {"acc": "accuracy", "loss": "loss"}[quantity]
    final = {split: run.history[-1].get(f"{split}/{quantity}") for split in ("train", "val")}
    said = ", ".join(
        f"{split} {percent(value)} %" if quantity == "acc" else f"{split} {value:.2f}"
        for split, value in final.items()
        if value is not None
    )
    alt = f"{caption}: {title} over {len(run.history)} epochs, at the end {said}"
    if best is not None:
        alt += f"; epoch {int(best) + 1} was kept"
    svg = curve_svg(run.history, quantity, best, f"curve-{name}-{quantity}")
    return Figure(alt, caption, svg=svg)
