"""Files below the data's folder that were not used, and why."""

from __future__ import annotations

from seedsweep.data.walk import LEFT_OUT, read_left_out, sentences
from seedsweep.report.blocks import Block, Section, Text
from seedsweep.report.contents import Material
from seedsweep.runs.grid import by_data, data_title, has_several
from seedsweep.runs.run_result import RunResult

ORDER = 85


def section(material: Material) -> Section | None:
    """A line a kind of file, for each data set; nothing where all files were used."""
    groups = by_data(material.rows)
    blocks: list[Block] = []
    if has_several(groups):
        for number, group in enumerate(groups, 1):
            if runs := [run for row in group for run in material.of_row(row)]:
                blocks += _of_run(runs[0], f" of {data_title(number, group)}")
    elif material.best is not None:
        blocks += _of_run(material.best, "")
    return Section("left-out", "Files that were not used", blocks) if blocks else None


def _of_run(run: RunResult, of: str) -> list[Block]:
    if not (left_out := read_left_out(run.folder / LEFT_OUT, run.folder)):
        return []
    n = len(left_out)
    blocks: list[Block] = [Text(f"{n} {'file' if n == 1 else 'files'} below the folder of images{of}:")]
    blocks += [Text(line) for line in sentences(left_out)]
    where = f" (`{run.folder.name}`)" if of else ""
    blocks.append(Text(f"Each of them is listed in `{LEFT_OUT}` of the run{where}.", small=True))
    return blocks
