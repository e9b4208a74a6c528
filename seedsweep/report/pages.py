"""Pages of what belongs to no run, grid or study: an audit, an evaluation, a diagnosis of settings or a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seedsweep.report.blocks import Block, Code, Column, Folded, Number, Section, Table, Text
from seedsweep.report.contents import read_diagnosis
from seedsweep.report.next_command import plan_again
from seedsweep.report.sections.confusion import class_blocks
from seedsweep.report.sections.diagnosis import blocks_of, diagnosed_in_words
from seedsweep.report.sections.image_audit import audit_section
from seedsweep.report.write_report import write_pages
from seedsweep.runs.csv_files import Predictions
from seedsweep.runs.jobs import AUDIT
from seedsweep.runs.run_result import RunResult
from seedsweep.whole import read_json


def write_audit_page(folder: Path, root: str) -> Path:
    """Writes report.html, which is returned, and report.md of an audit."""
    audit = read_json(folder / AUDIT)
    counts = audit["classes"]
    splits = list(counts)
    rows = [[name, *(Number(str(counts[split][name])) for split in splits)] for name in counts[splits[0]]]
    n, classes = audit["images"], len(rows)
    loud = [line["short"] for line in audit["lines"] if line["short"]]
    found = len(audit["lines"])
    worth = (
        f"{found} {'thing is' if found == 1 else 'things are'} worth a look."
        if found
        else "Nothing was found."
    )
    told = f"{n} images of {classes} classes. {worth}"
    table = Table(
        "Images of each class", [Column("class"), *(Column(split, number=True) for split in splits)], rows
    )
    built = [
        Section("verdict", "Verdict", [Text(told), *map(Text, loud)]),
        audit_section(folder, audit, "beside this page"),
        Section("classes", "Classes", [table]),
    ]
    return write_pages(folder, Path(root).name, "folder of images", built)


def write_evaluation_page(folder: Path, root: str, answers: Predictions, told: Sequence[str]) -> Path:
    """Writes report.html, which is returned, and report.md of an evaluation; the first two of ``told`` are the
    verdict."""
    texts = [Text(sentence) for sentence in told]
    built = [
        Section("verdict", "Verdict", texts[:2]),
        Section("classes", "Classes", [*texts[2:], *class_blocks(answers, "given")]),
    ]
    return write_pages(folder, Path(root).name, "set of labelled images", built)


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
