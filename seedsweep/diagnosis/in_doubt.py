"""Images whose label is in doubt, for a person to look at: contradicting copies, and labels that features doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seedsweep.data.equal_files import TWO_LABELS
from seedsweep.data.manifest import ImageTable
from seedsweep.data.walk import LEFT_OUT, LeftOut, read_left_out
from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.checks.label_errors import find_doubts
from seedsweep.diagnosis.subject import Subject
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError


@dataclass(frozen=True)
class InDoubt:
    """An image whose label is in doubt."""

    path: Path  # of the file
    label: str  # its class
    split: str  # where it is
    digest: str  # SHA-256 of the file
    reason: str  # why, a sentence
    score: float  # how much, 0..1
    likely: str | None = None  # the class that it looks like; None: not known
    twin: Path | None = None  # a file that shows the same; None: there is none

    @classmethod
    def of_row(
        cls, table: ImageTable, row: int, reason: str, score: float, likely: str | None = None
    ) -> InDoubt:
        """Takes path, class, split and digest from a row of the table."""
        label, split = table.classes[int(table.labels[row])], str(table.splits[row])
        return cls(table.paths[row], label, split, table.digests[row], reason, score, likely)


def _with_two_labels(left_out: Sequence[LeftOut]) -> list[InDoubt]:
    """Returns images that are out of validation and test, as an equal file is in another class."""
    files: dict[str, list[LeftOut]] = {}
    for each in left_out:
        if each.what == TWO_LABELS and each.path.is_file():
            files.setdefault(digest_of(each.path), []).append(each)
    return [
        InDoubt(
            each.path,
            each.label,
            "out of validation and test",
            digest,
            "The same file is also filed under {}.".format(", ".join(sorted({one.label for one in others}))),
            1.0,
            twin=others[0].path,
        )
        for digest, equal in files.items()
        for each in equal
        if (others := [one for one in equal if one.label != each.label])
    ]


def contradicting(facts: Audited, left_out: Sequence[LeftOut]) -> list[InDoubt]:
    """Returns the images that are filed under two classes, as equal or nearly equal files."""
    table = facts.table
    found = _with_two_labels(left_out)
    for pair in facts.pairs:
        for row, twin in ((pair.first, pair.second), (pair.second, pair.first)):
            if table.labels[row] != table.labels[twin]:
                what = "The same file is also" if pair.exact else "A nearly equal image is"
                reason = f"{what} filed under {facts.class_of(twin)}."
                each = InDoubt.of_row(table, row, reason, pair.likeness)
                found.append(replace(each, twin=table.paths[twin]))
    return found


def in_doubt(subject: Subject) -> list[InDoubt]:
    """Returns all images of a subject whose label is in doubt; by features only where they can be had."""
    facts, folder = subject.audited, subject.folder
    table = facts.table
    left_out = read_left_out(folder / LEFT_OUT, table.root) if folder else subject.prepared.left_out
    found = contradicting(facts, left_out)
    try:
        seen = subject.out_of_fold
    except SeedsweepError:  # the checks said so
        return found
    for doubt in find_doubts(seen.noise.looks, seen.counted_as[seen.labels]):
        likely = table.classes[doubt.suggested]
        reason = f"By a linear probe and the most similar images, {likely} is likelier."
        found.append(InDoubt.of_row(table, int(seen.rows[doubt.row]), reason, doubt.margin, likely))
    return found
