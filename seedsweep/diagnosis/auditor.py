"""Looks at a data set before any net: copies, contradictions, photographs torn by the split, class sizes, unused files.

It reads each image once, and takes its copies from the cache afterwards.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.equal_files import TWO_LABELS
from seedsweep.data.options import DataConfig
from seedsweep.data.walk import sentences
from seedsweep.diagnosis.audited import Audited, why_split_is_fixed
from seedsweep.diagnosis.finding import COUNTS
from seedsweep.diagnosis.split_by_group import lacking_if_grouped
from seedsweep.digest import digest_of
from seedsweep.names import and_more

VERSION = 1
HINT = 0.2  # by how much naming the photograph must beat chance, to tell the class
FEW = 10  # training images of a class
MOSTLY = 0.8  # share of the largest class from which on accuracy says little

Row = tuple[object, ...]


@dataclass(frozen=True)
class Line:
    """One thing that was found."""

    kind: str  # contradictions | near_contradictions | copies | leaks | photographs | classes | left_out
    text: str  # one or two sentences
    short: str = ""  # one, for a headline; empty where it is none
    # most by which it can move the accuracy (0..1) on validation or test images; None: not known
    bound: float | None = None
    picture: str | None = None  # beside audit.json; None: none
    table: str | None = None  # the whole list, beside audit.json; None: none

    @property
    def is_loud(self) -> bool:
        """Whether it belongs to the headline."""
        return bool(self.short) and self.bound is not None and self.bound >= COUNTS


@dataclass
class Audit:
    """What was found."""

    images: int  # how many were looked at
    lines: list[Line]  # what is worth one, the most that it can cost first
    classes: dict[str, dict[str, int]]  # images of each class and split
    counts: dict[str, Any] = field(default_factory=dict)  # numbers behind the lines
    seconds: float = 0.0  # it took

    def as_dict(self) -> dict[str, Any]:
        """Returns what audit.json holds."""
        lines = [asdict(line) | {"loud": line.is_loud} for line in self.lines]
        rest = {"classes": self.classes, "counts": self.counts, "seconds": self.seconds}
        return {"version": VERSION, "images": self.images, "lines": lines, **rest}


class Auditor:
    """Computes what an audit tells."""

    def __init__(self, facts: Audited, data: DataConfig) -> None:
        self.facts = facts
        self.data = data
        self.table = facts.table
        self.grouping = facts.grouping
        self.names = self.table.names()
        self.beside = self.table.splits != "train"

    def run(self) -> Audit:
        """Looks at everything."""
        started = time.perf_counter()
        found = [
            self._contradictions(), self._near_contradictions(), self._leaks(), self._photographs(), self._copies(),
            self._classes(), self._left_out(),
        ]  # fmt: skip
        lines = [line for line in found if line is not None]
        lines.sort(key=lambda line: -(line.bound or 0.0))
        return Audit(
            len(self.names) + self.unscored,
            lines,
            self.table.counts(),
            {
                "equal_files": sum(pair.exact for pair in self.facts.pairs),
                "near_copies": sum(not pair.exact for pair in self.facts.pairs),
                "images_in_two_classes": len(self.in_two_classes),
                "photographs": self.grouping.count if self.grouping else None,
                "torn_photographs": self._torn[0],
                "images_of_torn_photographs": self._torn[1],
            },
            round(time.perf_counter() - started, 2),
        )

    @cached_property
    def in_two_classes(self) -> dict[str, list[Row]]:
        """See :func:`in_two_classes`."""
        return in_two_classes(self.facts)

    @property
    def unscored(self) -> int:
        """Images with two labels that were left out of validation and test."""
        return sum(each.what == TWO_LABELS for each in self.facts.prepared.left_out)

    def _contradictions(self) -> Line | None:
        found = self.in_two_classes
        if not found:
            return None
        first = next(iter(found.values()))
        classes = Counter(" and ".join(sorted({str(row[1]) for row in rows})) for rows in found.values())
        which = and_more([f"{number} in {pair}" for pair, number in classes.most_common()], 3)
        n = len(found)
        text = (
            f"{n} {'image is' if n == 1 else 'images are'} filed under two classes, byte by byte ({which}), such as "
            f"{first[0][0]} and {first[1][0]}: at most one of the labels is right."
        )
        scored = np.asarray([digest in found for digest in self.table.digests]) & self.beside
        if self.unscored:
            text += f" {self.unscored} of these files are left out of validation and test."
        bound = self._bound(scored)
        if bound:
            text += f" The others can move the accuracy by up to {_points(bound)}."
        short = f"{n} {'image is' if n == 1 else 'images are'} filed under two classes."
        return Line("contradictions", text, short, bound, "contradictions.png", "contradictions.csv")

    def _near_contradictions(self) -> Line | None:
        labels = self.table.labels
        pairs = [p for p in self.facts.pairs if not p.exact and labels[p.first] != labels[p.second]]
        if not pairs:
            return None
        text = (
            f"{_pairs(len(pairs))} of near copies {'lies' if len(pairs) == 1 else 'lie'} in two classes, such as "
            f"{self.names[pairs[0].first]} and {self.names[pairs[0].second]}: look at their labels."
        )
        rows = np.zeros(len(self.names), bool)
        rows[[row for p in pairs for row in (p.first, p.second)]] = True
        return Line("near_contradictions", text, bound=self._bound(rows & self.beside), table="copies.csv")

    def _leaks(self) -> Line | None:
        rows = leaked(self.facts)
        if not rows.any():
            return None
        splits, bound = self.table.splits, self._bound(rows)
        pair = next(p for p in self.facts.pairs if {splits[p.first], splits[p.second]} > {"train"})
        n = int(rows.sum())
        text = (
            f"{n} {'image' if n == 1 else 'images'} of validation and test {'has' if n == 1 else 'have'} a copy in "
            f"training, such as {self.names[pair.first]} and {self.names[pair.second]} ({pair.how}): "
            f"that can move the accuracy by up to {_points(bound)}."
        )
        short = f"{bound:.0%} of the validation or test images have a copy in training."
        return Line("leaks", text, short, bound, "copies.png", "copies.csv")

    def _copies(self) -> Line | None:
        pairs = self.facts.pairs
        if not pairs:
            return None
        exact = sum(pair.exact for pair in pairs)
        near = Counter(pair.how for pair in pairs if not pair.exact)
        parts = [f"{exact} equal {'file' if exact == 1 else 'files'}"] if exact else []
        parts += [f"{_pairs(number)} of {how}" for how, number in near.most_common()]
        return Line(
            "copies",
            f"Among the images that are used: {'; '.join(parts)}.",
            picture="copies.png",
            table="copies.csv",
        )

    @cached_property
    def _torn(self) -> tuple[int, int]:
        """Photographs with images in training and beside it, and images beside training of such photographs."""
        return (0, 0) if self.grouping is None else self.grouping.torn_by(self.table.splits)

    def _photographs(self) -> Line | None:
        grouping, (photographs, images) = self.grouping, self._torn
        if grouping is None or not photographs:
            return None
        told_by = grouping.pattern if grouping.regex is None else f"`{grouping.regex}`"
        share = images / max(int(self.beside.sum()), 1)
        if share < COUNTS:
            return None
        text = (
            f"{photographs} of {grouping.count} photographs, as {told_by} tells them, are torn by the split: "
            f"{share:.0%} of the validation and test images have a part of theirs in training. So the accuracy is of "
            "photographs that were seen in part, and may be too high for others."
        )
        if grouping.told - grouping.expected >= HINT:
            text += f" The photograph alone tells the class of {grouping.told:.0%} of the images."
        if fixed := why_split_is_fixed(self.facts, self.data.manifest):
            text += f" {fixed}."
        elif grouping.regex is not None and not lacking_if_grouped(self.facts, grouping, self.data):
            text += f" `data.group_regex='{grouping.regex}'` keeps each on one side."
        short = f"{share:.0%} of the validation and test images have a part of their photograph in training."
        return Line("photographs", text, short, share, table="photographs.csv")

    def _classes(self) -> Line | None:
        counts = self.table.counts()
        train, val = counts["train"], counts["val"]
        parts = []
        if few := [name for name, n in train.items() if n < FEW]:
            parts.append(
                f"{and_more(few, 5)} {'has' if len(few) == 1 else 'have'} fewer than {FEW} training images."
            )
        largest = max(val, key=lambda name: val[name])
        share = val[largest] / max(sum(val.values()), 1)
        if share >= MOSTLY:
            parts.append(f"always answering {largest} gets {share:.0%} of the validation images.")
        return Line("classes", f"Class sizes: {' '.join(parts)}") if parts else None

    def _left_out(self) -> Line | None:
        out = [each for each in self.facts.prepared.left_out if not each.expected and each.what != TWO_LABELS]
        return Line("left_out", f"Files that are not used: {'; '.join(sentences(out))}.") if out else None

    def _bound(self, rows: NDArray[np.bool_]) -> float:
        """Returns the largest share of validation or test that ``rows`` make."""
        return max(shares_beside_training(self.table.splits, rows).values())


def in_two_classes(facts: Audited) -> dict[str, list[Row]]:
    """Returns path, class and split of all files of one content in two classes, by its digest.

    Those that were left out of validation and test for it are among them, with "left out" for a split.
    """
    table, names = facts.table, facts.table.names()
    files: dict[str, list[Row]] = {}
    for row, digest in enumerate(table.digests):
        files.setdefault(digest, []).append((names[row], facts.class_of(row), str(table.splits[row])))
    root = table.root.as_posix().rstrip("/") + "/"
    for each in facts.prepared.left_out:
        if each.what == TWO_LABELS:
            with suppress(OSError):  # deleted since
                name = each.path.as_posix().removeprefix(root)
                files.setdefault(digest_of(each.path), []).append((name, each.label, "left out"))
    return {digest: rows for digest, rows in files.items() if len({row[1] for row in rows}) > 1}


def leaked(facts: Audited) -> NDArray[np.bool_]:
    """Says [N] which images of validation and test have a copy in training."""
    splits = facts.table.splits
    found = np.zeros(len(splits), bool)
    for pair in facts.pairs:
        if {splits[pair.first], splits[pair.second]} > {"train"}:
            found[[pair.first, pair.second]] = True
    found &= splits != "train"
    return found


def shares_beside_training(splits: NDArray[np.str_], rows: NDArray[np.bool_]) -> dict[str, float]:
    """Returns the share of validation, and of test if there are any, that ``rows`` [N] make."""
    return {
        split: float(rows[splits == split].mean()) for split in ("val", "test") if (splits == split).any()
    }


def _points(share: float) -> str:
    text = f"{100 * share:.1f}"
    return f"{text} point{'' if text == '1.0' else 's'}"


def _pairs(n: int) -> str:
    return f"{n} pair{'' if n == 1 else 's'}"
