"""Likely label errors: confident learning (Northcutt, Jiang and Chuang 2021) on out-of-fold answers of a probe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

from seedsweep.errors import SeedsweepError

FOLDS = 5
COMPONENTS = 128  # principal components of the features that the probe reads
NEIGHBOURS = 10
OWN_CHANCE = 0.02  # probability of the given label
OWN_VOTES = 0.1  # share of the neighbours that may still have the given label
BLOCK = 1024


@dataclass(frozen=True)
class Doubt:
    """An image whose label the features contradict; ``suggested`` is a class number, ``margin`` 0..1 how clearly."""

    row: int
    given: int
    suggested: int
    margin: float


Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def folds_of(labels: NDArray[np.int64], groups: Sequence[str] | None, folds: int = FOLDS) -> Folds:
    """Returns stratified (train, test) rows; groups stay on one side where some group has several images.

    Few groups make fewer folds, those in which most images meet their own class in training. Classes with fewer
    images than folds are in the test rows of some folds only.

    Raises:
        SeedsweepError: the groups are too few to learn two classes on some and judge them on others.
    """
    names: NDArray[np.int64] | None = None
    most = int(np.bincount(labels).max())
    if groups is not None and len(set(groups)) < len(groups):
        names = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
        most = min(most, int(names.max()) + 1)
    best: Folds = []
    met = 0
    for count in range(max(2, min(folds, most)), 1, -1):
        made = _split(labels, names, count)
        asked = _asked_in(labels, made)
        if asked.sum() > met and len(np.unique(labels[asked])) > 1:
            best, met = made, int(asked.sum())
        if met == len(labels):
            break
    if not best:
        what = (
            f"{len(labels)} images" if names is None else f"{names.max() + 1} groups of images (photographs)"
        )
        raise SeedsweepError(
            f"{what} are too few to learn each class on some and judge it on others: each class needs at least two."
        )
    return best


def _split(labels: NDArray[np.int64], names: NDArray[np.int64] | None, count: int) -> Folds:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class smaller than the number of folds
        try:
            if names is not None:
                made = StratifiedGroupKFold(count, shuffle=True, random_state=0).split(labels, labels, names)
            else:
                made = StratifiedKFold(count, shuffle=True, random_state=0).split(labels, labels)
            return list(made)
        except ValueError:  # more folds than images of every class
            return []


def _asked_in(labels: NDArray[np.int64], made: Folds) -> NDArray[np.bool_]:
    """Says which images meet their class in training; none where some fold can't be fitted or judged at all."""
    asked = np.zeros(len(labels), dtype=bool)
    for train, test in made:
        known = np.unique(labels[train])
        if len(known) < 2 or not len(test):
            return np.zeros(len(labels), dtype=bool)
        asked[test] = np.isin(labels[test], known)
    return asked


def was_asked(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which images a probe could classify correctly: it gives exactly 0 to a class that it has not seen.

    Args:
        probabilities: [N, K], out of fold.
        labels: [N] class numbers.
    """
    asked: NDArray[np.bool_] = probabilities[np.arange(len(labels)), labels] > 0
    return asked


def components(features: NDArray[np.float32], count: int = COMPONENTS) -> NDArray[np.float64]:
    """Returns the first principal components [N, count] of features [N, C], scaled to a variance of 1 in the mean."""
    x = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    few = len(x) < x.shape[1]  # the smaller of the two Gram matrices has the same eigenvalues
    values, vectors = np.linalg.eigh((x @ x.T if few else x.T @ x) / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(count, len(x) - 1, x.shape[1])
    lengths = np.sqrt(len(x) * values[:kept].clip(0))
    made: NDArray[np.float64] = vectors[:, :kept] * lengths if few else x @ vectors[:, :kept]
    return made / max(float(np.sqrt(values[:kept].mean())), 1e-12)


def outside_fold(
    parts: NDArray[np.float64], labels: NDArray[np.int64], groups: Sequence[str] | None, classes: int
) -> NDArray[np.float64]:
    """Returns each image's class probabilities [N, classes] by a logistic regression that has not seen its group.

    Args:
        parts: :func:`components` of a frozen net's features, [N, count].
        labels: [N] class numbers.
        groups: [N] names; None: every image by itself.
        classes: how many there are.

    Raises:
        SeedsweepError: too few groups.
    """
    probe = LogisticRegression(C=0.1, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is missing in a fold; a fit that is near enough
        found = cross_val_predict(probe, parts, labels, cv=folds_of(labels, groups), method="predict_proba")
    made = np.zeros((len(labels), classes))
    made[:, np.unique(labels)] = found
    return made


def find_doubts(
    probabilities: NDArray[np.float64], neighbours: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[Doubt]:
    """Returns likely label errors, the clearest first.

    An image is confidently another class's where that class's probability reaches the mean that images labelled so get
    themselves (confident learning's threshold), without those that the probe was not asked. A probe that is wrong in
    one image of ten would then accuse many right labels, so the given label must also be next to impossible to the
    probe, and nearly absent among the neighbours. Nobody is accused of a label that the probe never met (all of its
    class in one group), nor told to be of such a class.

    Args:
        probabilities: [N, K], out of fold.
        neighbours: [N, K] share of each class among the nearest other images.
        labels: [N] class numbers.
    """
    rows = np.arange(len(labels))
    own, asked = probabilities[rows, labels], was_asked(probabilities, labels)
    judged = [own[asked & (labels == k)] for k in range(probabilities.shape[1])]
    thresholds = np.asarray([each.mean() if len(each) else np.inf for each in judged])
    confident = np.where(probabilities >= thresholds, probabilities, -1)
    suggested, best = confident.argmax(1), confident.max(1)
    accused = asked & (
        (best > 0) & (suggested != labels) & (own < OWN_CHANCE) & (neighbours[rows, labels] <= OWN_VOTES)
    )
    margin = best - own
    order = sorted(np.flatnonzero(accused).tolist(), key=lambda row: -margin[row])
    return [Doubt(row, int(labels[row]), int(suggested[row]), float(margin[row])) for row in order]


def neighbour_votes(
    parts: NDArray[np.float64], labels: NDArray[np.int64], groups: Sequence[str], classes: int
) -> NDArray[np.float64]:
    """Returns [N, classes]: the classes' shares among each image's nearest images of other groups (cosine).

    Args:
        parts: :func:`components` of the features, [N, count].
        labels: [N] class numbers.
        groups: [N] names.
        classes: how many there are.
    """
    x = parts.astype(np.float32)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    votes = np.zeros((len(labels), classes))
    count = min(NEIGHBOURS, len(labels) - 1)
    for start in range(0, len(labels), BLOCK):
        likeness = x[start : start + BLOCK] @ x.T
        likeness[numbers[start : start + BLOCK, None] == numbers[None]] = -2
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        for place in range(count):
            np.add.at(votes, (np.arange(start, start + len(nearest)), labels[nearest[:, place]]), 1 / count)
    return votes
