"""What a frozen net's features tell about classes, predicted for images that a probe or their neighbours never saw."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.folds import folds_of
from seedsweep.diagnosis.label_noise import Noise, estimate_noise, tells_classes, told_apart
from seedsweep.diagnosis.nearness import nearest_of

COMPONENTS = 128  # principal components of the features that the probe reads
PENALTY = 0.1  # of the probe, the inverse: small is strong
NEIGHBOURS = 10
RANDOM = 0.15  # share of labels given at random from which on they may be what hides a difference


@dataclass
class OutOfFold:
    """Images that passed the corrected frozen net, with two kinds of predictions that have not seen their labels."""

    parts: NDArray[np.float64]  # principal components of the features, [n, count]
    rows: NDArray[np.int64]  # [n] of the whole table: training and validation images that are looked at
    labels: NDArray[np.int64]  # [n]
    probabilities: NDArray[np.float64]  # [n, K] of a linear probe, out of fold
    votes: NDArray[np.float64]  # [n, K] shares of the classes among the nearest others
    groups: Sequence[str] = ()  # [n] names of photographs, which the probe has seen nothing of
    copies: Sequence[str] = ()  # [n] names; equal for equal files

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Says [n] which images the probe could classify correctly: it has not seen the classes of the others."""
        return was_asked(self.probabilities, self.labels)

    @property
    def acc(self) -> float:
        """Accuracy of the probe, out of fold, on the images that it could classify correctly."""
        return float((self.probabilities.argmax(1) == self.labels)[self.asked].mean())

    @cached_property
    def single(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same predictions [n, K] by all other images, those of the same photograph too, but no copy of the file.

        They find more single wrong labels: another photograph may look different in all its images.
        """
        classes = self.probabilities.shape[1]
        return (
            outside_fold(self.parts, self.labels, self.copies, classes),
            neighbour_votes(self.parts, self.labels, self.copies, classes),
        )

    @cached_property
    def alike(self) -> list[tuple[int, int, float, float]]:
        """Pairs of classes that the features tell apart no better than chance, see :func:`told_apart`.

        None where so many labels look as if given at random that these may hide a difference, nor where the features
        tell no class from another.
        """
        if not tells_classes(self.single[0], self.labels):
            return []
        found = [each for each in told_apart(*self.single, self.labels) if each[2] <= each[3]]
        if found and self._noise(np.arange(self.probabilities.shape[1])).spread > RANDOM:
            return []
        return found

    @cached_property
    def counted_as(self) -> NDArray[np.int64]:
        """A class number for each [K]: of :attr:`alike` classes that of the first."""
        made = np.arange(self.probabilities.shape[1])
        for a, b, *_ in self.alike:
            made[made == made[b]] = made[a]
        return made

    @cached_property
    def noise(self) -> Noise:
        """What is estimated of wrong labels; :attr:`alike` classes count as one."""
        return self._noise(self.counted_as)

    def _noise(self, counted_as: NDArray[np.int64]) -> Noise:
        merged = np.eye(len(counted_as))[counted_as]
        probabilities, votes = (each @ merged for each in self.single)
        return estimate_noise(probabilities, votes, counted_as[self.labels], self.groups, merged.mean(0))


def out_of_fold(facts: Audited, parts: NDArray[np.float64], rows: NDArray[np.int64]) -> OutOfFold:
    """Predicts the classes of images by a linear probe out of fold, and by neighbours; ``parts``: :func:`components`.

    Raises:
        SeedsweepError: there are too few groups.
    """
    labels = facts.table.labels[rows]
    groups = [facts.groups[row] for row in rows]
    classes = len(facts.table.classes)
    return OutOfFold(
        parts,
        rows,
        labels,
        outside_fold(parts, labels, groups, classes),
        neighbour_votes(parts, labels, groups, classes),
        groups,
        [facts.table.digests[row] for row in rows],
    )


def was_asked(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Says [N] which images a probe could classify correctly: it gives exactly 0 [N, K] to a class that it has not
    seen."""
    asked: NDArray[np.bool_] = probabilities[np.arange(len(labels)), labels] > 0
    return asked


def components(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the first principal components [N, count] of features [N, C], scaled to a variance of 1 in the mean."""
    kept = min(COMPONENTS, len(features) - 1, features.shape[1])
    solver = "full" if 2 * len(features) <= features.shape[1] else "covariance_eigh"  # the faster: they agree
    made = PCA(kept, svd_solver=solver).fit_transform(features.astype(np.float64))
    return np.asarray(made / max(float(np.sqrt(made.var(0).mean())), 1e-12))


def outside_fold(
    parts: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: Sequence[str] | None,
    classes: int,
    learned: NDArray[np.bool_] | None = None,
    views: Sequence[NDArray[np.float64]] = (),
) -> NDArray[np.float64]:
    """Returns each image's class probabilities [N, classes] by a logistic regression that has not seen its group.

    Args:
        parts: :func:`components` of a frozen net's features, [N, count].
        labels: [N] class numbers.
        groups: [N] names; None: every image by itself.
        learned: [N] images that it may learn from; None: all.
        views: likewise [N, count] each, of the images as it learns from them; empty: it learns from ``parts``.

    Raises:
        SeedsweepError: too few groups.
    """
    views = views or (parts,)
    probe = LogisticRegression(C=PENALTY / len(views), max_iter=300)
    made = np.zeros((len(labels), classes))
    for train, test in folds_of(labels, groups):
        kept = train if learned is None else train[learned[train]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit that is near enough
            probe.fit(np.concatenate([view[kept] for view in views]), np.tile(labels[kept], len(views)))
        made[np.ix_(test, probe.classes_)] = probe.predict_proba(parts[test])
    return made


def neighbour_votes(
    parts: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    classes: int,
    most: int = NEIGHBOURS,
) -> NDArray[np.float64]:
    """Returns [N, classes]: the classes' shares among the ``most`` nearest images of other groups (cosine of parts
    [N, count])."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    nearest = nearest_of(parts, numbers, most)
    return np.asarray(np.eye(classes)[labels[nearest]].mean(1))
