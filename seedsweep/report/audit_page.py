"""The page of ``task=audit``: what was found in the images, and how many there are of each class."""

from __future__ import annotations

from pathlib import Path

from seedsweep.report.blocks import Column, Number, Section, Table, Text
from seedsweep.report.sections.image_audit import audit_section
from seedsweep.report.write_report import write_pages
from seedsweep.runs.jobs import AUDIT
from seedsweep.whole import read_json


def write_audit_page(folder: Path, root: str) -> Path:
    """Writes report.html, which is returned, and report.md of an audit."""
    audit = read_json(folder / AUDIT)
    counts = audit["classes"]
    splits = list(counts)
    rows = [[name, *(Number(str(counts[split][name])) for split in splits)] for name in counts[splits[0]]]
    n, classes = audit["images"], len(rows)
    loud = [line["short"] for line in audit["lines"] if line["short"]]
    told = f"{n} images of {classes} classes. {_found(len(audit['lines']))}"
    table = Table(
        "Images of each class", [Column("class"), *(Column(split, number=True) for split in splits)], rows
    )
    built = [
        Section("verdict", "Verdict", [Text(told), *map(Text, loud)]),
        audit_section(folder, audit, "beside this page"),
        Section("classes", "Classes", [table]),
    ]
    return write_pages(folder, Path(root).name, "folder of images", built)


def _found(lines: int) -> str:
    return (
        "Nothing was found."
        if lines == 0
        else f"{lines} {'thing is' if lines == 1 else 'things are'} worth a look."
    )
