"""What was run, and how to run it again."""

from __future__ import annotations

from seedsweep.report.blocks import Block, Code, Facts, Folded, Section, Text
from seedsweep.report.contents import RUN, SWEEP, Material
from seedsweep.report.provenance import command, facts_of
from seedsweep.report.text import seconds

ORDER = 90


def section(material: Material) -> Section | None:
    """Command, settings, digests, versions, time."""
    blocks: list[Block] = []
    if line := command(material):
        blocks += [Text("To run it again:"), Code(line)]
    times = [float(run.metrics["wall_seconds"]) for run in material.runs if "wall_seconds" in run.metrics]
    rows = [("folder", str(material.folder))]
    if material.kind == SWEEP:
        seeds = sorted({run.seed for run in material.runs})
        rows += [("runs", str(len(material.runs))), ("seeds", ", ".join(map(str, seeds)))]
    took = material.result.get("wall_seconds")
    if took is None and times:
        took = sum(times)
    if took is not None:
        rows.append(("time", seconds(float(took))))
    blocks.append(Facts(rows))
    run = material.best
    if run is not None:
        if material.kind != RUN:
            blocks.append(Text(f"`{run.label}`, seed {run.seed}, shown in detail above:"))
        blocks.append(Facts(facts_of(run)))
        if run.config_text:
            blocks.append(Folded("All settings", [Code(run.config_text.strip())]))
    return Section("what-was-run", "What was run", blocks)
