"""Shortcuts: what of an image predicts its class without any look at the object in it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from seedsweep.diagnosis.audit.files import FileFacts
from seedsweep.diagnosis.audit.labels import folds_of

RIM = 2  # of a thumbnail's 32 pixels, on each side
MOST = 4000  # images that are looked at, drawn with each class's share kept
TREES = 50


@dataclass(frozen=True)
class Cue:
    """What one cue alone predicts, cross-validated.

    Attributes:
        name: of the cue.
        acc: share of images whose class it tells.
        balanced: mean recall of the classes.
        aucs: for each class, how well it tells that class from all others (0.5: not at all, 1: always); nan for a
            class of fewer than 5 images.
    """

    name: str
    acc: float
    balanced: float
    aucs: NDArray[np.float64]


def cue_tables(facts: Sequence[FileFacts], small: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Returns, by cue, a few numbers an image [N, k].

    Args:
        facts: of the files.
        small: thumbnails, [N, side, side, 3].
    """
    width = np.asarray([fact.width for fact in facts], dtype=np.float64)
    height = np.asarray([fact.height for fact in facts], dtype=np.float64)
    kinds = np.unique([fact.kind for fact in facts], return_inverse=True)[1].astype(np.float64)
    quality = np.asarray([fact.quantisation for fact in facts])
    inside = np.zeros(small.shape[1:3], dtype=bool)
    inside[RIM:-RIM, RIM:-RIM] = True
    rim = small[:, ~inside].astype(np.float64)
    return {
        "size": np.stack([np.log(width), np.log(height), np.log(width / height)], 1),
        "kind of file": np.stack([kinds, quality], 1),
        "mean colour": small.mean((1, 2)),
        "colour of the rim": np.concatenate([rim.mean(1), rim.std(1)], 1),
    }


def measure_cue(
    name: str, table: NDArray[np.float64], labels: NDArray[np.int64], groups: Sequence[str], classes: int
) -> Cue:
    """Cross-validates a forest on one cue; groups are kept on one side.

    Args:
        name: of the cue.
        table: [N, k].
        labels: [N] class numbers.
        groups: [N] names.
        classes: how many there are.
    """
    counts = np.bincount(labels, minlength=classes)
    if (table == table[0]).all():  # the same for all: tells nothing
        acc = float(counts.max() / counts.sum())
        return Cue(name, acc, 1 / classes, np.where(counts >= 5, 0.5, np.nan))
    rows = _some(labels, classes)
    table, labels, groups = table[rows], labels[rows], [groups[row] for row in rows]
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is missing in a fold
        found = cross_val_predict(forest, table, labels, cv=folds_of(labels, groups), method="predict_proba")
    present = np.unique(labels)
    answers = present[found.argmax(1)]
    recalls = [(answers[labels == label] == label).mean() for label in present]
    aucs = np.full(classes, np.nan)
    for place, label in enumerate(present):
        if counts[label] >= 5 and counts[label] < counts.sum():
            aucs[label] = roc_auc_score(labels == label, found[:, place])
    return Cue(name, float((answers == labels).mean()), float(np.mean(recalls)), aucs)


def _some(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    if len(labels) <= MOST:
        return np.arange(len(labels))
    rng, share = np.random.default_rng(0), MOST / len(labels)
    parts = []
    for label in range(classes):
        rows = rng.permutation(np.flatnonzero(labels == label))
        parts.append(rows[: max(min(10, len(rows)), round(share * len(rows)))])
    return np.sort(np.concatenate(parts))
