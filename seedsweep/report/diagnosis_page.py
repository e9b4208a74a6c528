"""The page of a diagnosis that belongs to no run: of settings before any training, or of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from seedsweep.report.blocks import Block, Code, Folded, Section, Text
from seedsweep.report.contents import read_diagnosis
from seedsweep.report.next_command import plan_again
from seedsweep.report.sections.diagnosis import blocks_of, diagnosed_in_words
from seedsweep.report.write_report import write_pages
from seedsweep.runs.run_result import RunResult


def write_diagnosis_page(folder: Path, title: str, kind: str) -> Path:
    """Writes report.html, which is returned, and report.md of a diagnosis.

    Raises:
        OSError: the folder can't be written.
    """
    found = read_diagnosis(folder)
    assert found is not None
    said = [diagnosed_in_words([found]) or "The diagnosis finds no fault.", found.standing]
    verdict: list[Block] = [Text(each) for each in said if each]
    if line := plan_again(folder, found):
        verdict += [Text("What to run next:", small=True), Code(line)]
    built = [Section("verdict", "Verdict", verdict), Section("diagnosis", "Diagnosis", blocks_of(found))]
    if settings := RunResult(folder).config_text:
        built.append(Section("settings", "Settings", [Folded("All settings", [Code(settings)])]))
    return write_pages(folder, title, kind, built)
