"""Audits images at the beginning of a run, grid or study: writes what was found, and prints what is worth a line."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep import disk, signals
from seedsweep.data.options import DataConfig
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.auditor import Audit, Auditor, Row
from seedsweep.runs.jobs import AUDIT
from seedsweep.training.options import ArmSettings
from seedsweep.whole import write_csv, write_json

log = logging.getLogger(__name__)

SHOWN = 20  # pairs of a picture


def facts_of(prepared: PreparedImages, data: DataConfig, cache: Path) -> Audited:
    """Returns what is known of images without any net; ``cache`` is where copies are kept."""
    return Audited(prepared, data.group_regex, group_list=data.group, cache=cache)


def audit_images(facts: Audited, data: DataConfig, folder: Path) -> Audit:
    """Looks at the images, and writes audit.json, the lists and the pictures."""
    auditor = Auditor(facts, data)
    found = auditor.run()
    folder.mkdir(parents=True, exist_ok=True)
    for name, (columns, *rows) in _tables(auditor).items():
        write_csv(folder / name, [str(column) for column in columns], rows)
    _draw(auditor, folder)
    write_json(folder / AUDIT, found.as_dict())  # last: who finds it finds all
    return found


def audit_at_beginning(config: ArmSettings, prepared: PreparedImages, folder: Path) -> None:
    """Audits the images of a run, grid or study, where that was not done before, and prints what is worth a line.

    What fails here ends no run.
    """
    if config.audit == "off" or (folder / AUDIT).is_file():
        return
    try:
        tell(audit_images(facts_of(prepared, config.data, config.cache_dir), config.data, folder))
    except Exception as error:
        signals.check()
        if disk.sentence(error, {}):
            raise
        log.warning("audit: it failed (%s), and the run goes on", error)
        log.debug("", exc_info=True)


def tell(found: Audit) -> None:
    """Prints what was found; files that are not used were printed when they were met."""
    lines = [line for line in found.lines if line.kind != "left_out"]
    for line in lines:
        level = logging.WARNING if line.is_loud else logging.INFO
        log.log(level, "audit: %s", line.text.replace("`", ""))
    if not lines:
        log.info("audit: nothing found in %d images", found.images)


def _tables(auditor: Auditor) -> dict[str, list[Row]]:
    """Returns the columns and rows of each CSV file."""
    facts, names = auditor.facts, auditor.names

    def of(row: int) -> Row:
        return names[row], facts.class_of(row), str(facts.table.splits[row])

    copies = [(*of(p.first), *of(p.second), p.how, round(p.likeness, 4)) for p in facts.pairs]
    two = [(number, *row) for number, rows in enumerate(auditor.in_two_classes.values(), 1) for row in rows]
    groups = auditor.grouping.groups if auditor.grouping else []
    return {
        "copies.csv": [
            ("first", "class", "split", "second", "class_of_second", "split_of_second", "how", "likeness"), *copies,
        ],
        "contradictions.csv": [("image", "path", "class", "split"), *two],
        "photographs.csv": [
            ("photograph", "path", "class", "split"), *sorted((group, *of(row)) for row, group in enumerate(groups)),
        ],
    }  # fmt: skip


def _draw(auditor: Auditor, folder: Path) -> None:
    """Draws pairs of contradicting files and of copies."""
    facts = auditor.facts
    place = {name: row for row, name in enumerate(auditor.names)}
    two = [[place.get(str(row[0])) for row in rows[:2]] for rows in auditor.in_two_classes.values()]
    near = sorted(facts.pairs, key=lambda pair: pair.exact)
    sheets = {
        "contradictions.png": [row for rows in two for row in rows if row is not None],
        "copies.png": [row for pair in near for row in (pair.first, pair.second)],
    }
    for name, rows in sheets.items():
        if rows:
            facts.draw_where(rows[: 2 * SHOWN], folder / name)
