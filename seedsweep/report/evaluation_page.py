"""The page of ``task=evaluate``: how good a net is on a folder of labelled images, by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seedsweep.report.blocks import Section, Text
from seedsweep.report.sections.confusion import class_blocks
from seedsweep.report.write_report import write_pages
from seedsweep.runs.csv_files import Predictions


def write_evaluation_page(folder: Path, root: str, answers: Predictions, told: Sequence[str]) -> Path:
    """Writes report.html, which is returned, and report.md of an evaluation; the first two of ``told`` are the
    verdict."""
    texts = [Text(sentence) for sentence in told]
    built = [
        Section("verdict", "Verdict", texts[:2]),
        Section("classes", "Classes", [*texts[2:], *class_blocks(answers, "given")]),
    ]
    return write_pages(folder, Path(root).name, "set of labelled images", built)
