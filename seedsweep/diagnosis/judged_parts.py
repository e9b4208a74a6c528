"""What settings are worth on images that were not learned from and decided nothing, and how surely that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seedsweep.diagnosis.folds import folds_of
from seedsweep.stats.interval import Interval, t_interval
from seedsweep.stats.pairs import by_group

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]
DIFFERENT = 0.1  # p from which on trainings differ by chance alone


@dataclass(frozen=True)
class Part:
    """Positions of images among those that are looked at, training before validation."""

    learned: Rows  # a head is trained on them; those that stand twice, twice an epoch
    chosen: Rows  # they choose its best epoch, or the probe's penalty
    judged: Rows  # neither; they measure it


@dataclass(frozen=True)
class Parts:
    """Images in several parts: each that is judged was not learned from in its part, nor chosen with."""

    of: list[Part]  # the parts; no image is judged in two
    groups: Sequence[str]  # names of what belongs together, of all images that are looked at

    @cached_property
    def judged(self) -> Rows:
        """Positions of the images that are judged, part by part, [N]."""
        return np.concatenate([part.judged for part in self.of])

    @cached_property
    def numbers(self) -> Rows:
        """The part in which each of :attr:`judged` is judged, [N]."""
        return np.repeat(np.arange(len(self.of)), [len(part.judged) for part in self.of])

    @classmethod
    def of_training(cls, labels: Rows, n_train: int, groups: Sequence[str]) -> Parts:
        """Judges training images in folds; validation chooses, as it does in a run.

        What a check chose with validation is measured on other images so. For each image that is judged, another one of
        its class is learned from twice in an epoch. Else a head that is trained too little would look worse than it is:
        by fewer steps than the run's, and by learning most of those classes of which it is judged least.

        Args:
            labels: of all images that are looked at, [n].
            n_train: how many of them are of training: the first.
            groups: [n] names.

        Raises:
            SeedsweepError: too few groups.
        """
        val, rng = np.arange(n_train, len(labels)), np.random.default_rng(0)
        folds = folds_of(labels[:n_train], groups[:n_train])
        parts = []
        for rest, fold in folds:
            of_classes = [
                (rest[labels[rest] == k], int((labels[fold] == k).sum())) for k in np.unique(labels)
            ]
            twice = [np.resize(rng.permutation(rows), count) for rows, count in of_classes if len(rows)]
            parts.append(Part(np.concatenate([rest, *twice]), val, fold))
        return cls(parts, groups)

    @classmethod
    def of_validation(cls, labels: Rows, n_train: int, groups: Sequence[str]) -> Parts:
        """Judges validation images in folds; the other folds choose, and training is learned from as a whole.

        Only these images are unseen to a net that was trained already. As :meth:`of_training` otherwise.
        """
        train = np.arange(n_train)
        folds = folds_of(labels[n_train:], groups[n_train:])
        return cls([Part(train, n_train + rest, n_train + fold) for rest, fold in folds], groups)

    def interval(self, scores: Scores) -> Interval:
        """Returns the mean of ``scores`` with the interval that another run on as many other images lies in.

        Groups of images are drawn by chance, and so is the training: each part has a seed and learned images of its
        own. Where the means of the parts differ more than their groups explain (F test, :data:`DIFFERENT`), the rest is
        what trainings differ by; another run adds that once more. The variances add up as Satterthwaite 1946 has it.

        Args:
            scores: of :attr:`judged`, [N]: 0 and 1, or what one setting scores more than another, -1..1.
        """
        values = by_group(scores[None], np.asarray(self.groups)[self.judged])[0]
        n, n_parts = len(values), len(self.of)
        # one more image that differs, and one that does so in the other direction: an error is never quite 0
        away = np.append(values - values.mean(), [n / len(scores), -n / len(scores)])
        of_groups = float(away.var(ddof=1)) / n
        sizes = np.bincount(self.numbers)
        means = np.bincount(self.numbers, scores) / sizes
        ratio = float(means.var(ddof=1)) / (n_parts * of_groups)
        differ = stats.f.sf(ratio, n_parts - 1, n - 1) < DIFFERENT
        of_trainings = n_parts * of_groups * (ratio - 1) if differ else 0.0
        terms = ((2 * of_groups, n - 1.0), ((1 + 1 / n_parts) * of_trainings, n_parts - 1.0))
        total = sum(term for term, _ in terms)
        freedom = total**2 / sum(term**2 / free for term, free in terms)
        over = ("groups of images" if n < len(scores) else "images") + " and seeds"
        return t_interval(float(scores.mean()), math.sqrt(total), freedom, over).clipped(-1)

    def best_elsewhere(self, candidates: Sequence[Scores]) -> Scores:
        """Returns for each judged image the score of the candidate that is best in the other parts, [N].

        The mean is that of a choice, told for images that had no part in it: never above the best candidate's own.
        """
        scores = np.stack(candidates)
        best = np.empty(scores.shape[1])
        for number in range(len(self.of)):
            here = self.numbers == number
            best[here] = scores[scores[:, ~here].mean(1).argmax(), here]
        return best
