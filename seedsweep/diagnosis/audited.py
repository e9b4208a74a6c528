"""What several checks of the images share: thumbnails, pairs, groups, out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.folder import SPLIT_NAMES
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.audit.cues import Cue, cue_tables, measure_cue
from seedsweep.diagnosis.audit.duplicates import Pair, find_pairs, thumbnails
from seedsweep.diagnosis.audit.files import read_facts
from seedsweep.diagnosis.audit.groups import Grouping, guess_grouping, measure_grouping
from seedsweep.diagnosis.audit.labels import components, neighbour_votes, outside_fold, was_asked
from seedsweep.diagnosis.stored_features import EVAL_BATCH, Answers

EXAMPLES = 20  # of a list in the evidence; the rest is counted


@dataclass
class OutOfFold:
    """Images that passed the corrected frozen net, with two kinds of predictions that have not seen their labels.

    Attributes:
        parts: principal components of the features, [n, count].
        rows: [n] of the whole table: training and validation images that are looked at.
        labels: [n].
        groups: [n]; copies of one file are one group.
        probabilities: [n, K] of a linear probe, out of fold.
        votes: [n, K] shares of the classes among the nearest others.
    """

    parts: NDArray[np.float64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: list[str]
    probabilities: NDArray[np.float64]
    votes: NDArray[np.float64]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Says [n] which images the probe could classify correctly: it has not seen the classes of the others."""
        return was_asked(self.probabilities, self.labels)

    @property
    def acc(self) -> float:
        """Accuracy of the probe, out of fold, on the images that it could classify correctly."""
        return float((self.probabilities.argmax(1) == self.labels)[self.asked].mean())


class Audited:
    """Lazily computed facts about all images of a run.

    Args:
        prepared: the run's images.
        group_regex: ``data.group_regex``.
    """

    def __init__(self, prepared: PreparedImages, group_regex: str | None) -> None:
        self.prepared = prepared
        self.group_regex = group_regex

    @property
    def table(self) -> ImageTable:
        """Path, class, split, group and digest of all images."""
        return self.prepared.table

    @cached_property
    def small(self) -> NDArray[np.uint8]:
        """Thumbnails of all images, [N, side, side, 3]."""
        rows = np.arange(len(self.table.paths))
        parts = np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH))
        return np.concatenate([thumbnails(self.prepared.pixels.batch(part)) for part in parts])

    @cached_property
    def pairs(self) -> list[Pair]:
        """Exact and near duplicates."""
        return find_pairs(self.table.digests, self.small)

    @cached_property
    def groups(self) -> list[str]:
        """What cross-validation keeps together: photographs where they are known or shown by names, else equal files.

        Pieces of one photograph would vouch for one another's wrong label.
        """
        if len(set(self.table.groups)) < len(self.table.groups):
            return self.table.groups
        return self.table.digests if self.grouping is None else self.grouping.groups

    @cached_property
    def grouping(self) -> Grouping | None:
        """The photographs that the images come from: as ``data.group_regex`` says, or as the names suggest."""
        labels = self.table.labels
        if self.group_regex is not None:
            return measure_grouping(self.group_regex, self.table.groups, labels)
        return guess_grouping([path.name for path in self.table.paths], labels)

    @cached_property
    def cues(self) -> list[Cue]:
        """What size, kind of file and colours alone predict."""
        tables = cue_tables(read_facts(self.table.paths), self.small)
        labels, classes = self.table.labels, len(self.table.classes)
        return [measure_cue(name, table, labels, self.groups, classes) for name, table in tables.items()]

    def name(self, row: int) -> str:
        """Returns an image's path below the data's folder."""
        path, root = self.table.paths[row], self.table.root
        return str((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())

    def class_of(self, row: int) -> str:
        """Returns the name of an image's class."""
        return str(self.table.classes[self.table.labels[row]])


def why_split_is_fixed(facts: Audited, manifest: str | None) -> str | None:
    """Returns what makes the split, and where to change it; None: a setting can change it.

    Args:
        facts: about the images.
        manifest: that the user gave.
    """
    if manifest is not None:
        return f"The split stands in {manifest}, where no setting changes it: make it anew there"
    top = {facts.name(row).split("/")[0].lower() for row in range(len(facts.table.paths))}
    if top.isdisjoint(SPLIT_NAMES["train"]):
        return None
    return f"The folders of {facts.table.root} make the split: move the files"


def out_of_fold(facts: Audited, clean: Answers, part: ImageTable) -> OutOfFold:
    """Predicts the classes of images by a linear probe out of fold, and by their nearest neighbours.

    Args:
        facts: about all images.
        clean: features of ``part``: training images, then validation images.
        part: the images that are looked at.

    Raises:
        SeedsweepError: there are too few groups.
    """
    parts = components(np.concatenate([clean.train.numpy(), clean.val.numpy()]))
    place = {path: row for row, path in enumerate(facts.table.paths)}
    rows = np.asarray([place[path] for path in part.paths], dtype=np.int64)
    groups = [facts.groups[row] for row in rows]
    classes = len(facts.table.classes)
    return OutOfFold(
        parts,
        rows,
        part.labels,
        groups,
        outside_fold(parts, part.labels, groups, classes),
        neighbour_votes(parts, part.labels, groups, classes),
    )
