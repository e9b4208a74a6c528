"""The page of a diagnosis that belongs to no run: of settings before any training, or of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from seedsweep.report.blocks import Code, Folded, Section
from seedsweep.report.contents import read_diagnosis
from seedsweep.report.sections.diagnosis import blocks_of
from seedsweep.report.write_report import write_pages
from seedsweep.runs.run_result import RunResult


def write_diagnosis_page(folder: Path, title: str, kind: str) -> Path:
    """Writes report.html and report.md of a diagnosis.

    Args:
        folder: of diagnosis.json and its pictures; absolute.
        title: of the page.
        kind: what was examined, in a few words.

    Returns:
        report.html.

    Raises:
        OSError: the folder can't be written.
    """
    found = read_diagnosis(folder)
    assert found is not None
    headline, *blocks = blocks_of(found)
    built = [Section("verdict", "Verdict", [headline]), Section("diagnosis", "Diagnosis", blocks)]
    if settings := RunResult(folder).config_text:
        built.append(Section("settings", "Settings", [Folded("All settings", [Code(settings)])]))
    return write_pages(folder, title, kind, built)
