"""Files below the data's folder that were not used, and why."""

from __future__ import annotations

from seedsweep.data.leftout import NAME, read_left_out, sentences
from seedsweep.report.blocks import Block, Section, Text
from seedsweep.report.material import Material

ORDER = 85


def section(material: Material) -> Section | None:
    """A line a kind of file; nothing where all files were used."""
    run = material.best
    if run is None or not (left_out := read_left_out(run.folder / NAME, run.folder)):
        return None
    n = len(left_out)
    blocks: list[Block] = [Text(f"{n} {'file' if n == 1 else 'files'} below the folder of images:")]
    blocks += [Text(line) for line in sentences(left_out)]
    blocks.append(Text(f"Each of them is listed in `{NAME}` of the run.", small=True))
    return Section("left-out", "Files that were not used", blocks)
