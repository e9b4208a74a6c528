"""Parts of the training images, drawn as if they were held out: what a split that is in order shows by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FOLDS = 5
RIDGE = 0.1  # times the mean variance
Mask = NDArray[np.bool_]


def units_of(groups: Sequence[str], held_out: Mask) -> NDArray[np.int64]:
    """Returns [n] numbers of what lies on one side of a split as a whole: groups, or images of groups that it tears."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    share = np.bincount(numbers, held_out) / np.bincount(numbers)
    torn = ((share > 0) & (share < 1))[numbers]
    numbers[torn] = numbers.max() + 1 + np.arange(torn.sum())
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)


def drawn_part(units: NDArray[np.int64], count: int, rng: np.random.Generator) -> Mask:
    """Draws whole units until they hold about ``count`` images; returns [n] which images these are."""
    sizes = np.bincount(units)
    order = rng.permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = order[(before + sizes[order] / 2 <= count) | (before == 0)]
    return np.isin(units, chosen)


def cross_validated(x: NDArray[np.float64], held_out: Mask, units: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns [n] scores, high for images that look held out, by a ridge classifier that has not seen their unit.

    Args:
        x: [n, k], columns of like size.
        units: [n] of :func:`units_of`; each is on one side.
    """
    fold = _folds(held_out, units)
    made = np.zeros(len(x))
    for each in range(int(fold.max()) + 1):
        known = fold != each
        target = held_out[known]
        weight = np.where(target, 0.5 / target.sum(), 0.5 / (~target).sum())
        mean = weight @ x[known]
        centred = x[known] - mean
        gram = centred.T @ (centred * weight[:, None])
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        slope = np.linalg.solve(gram, centred.T @ (weight * np.where(target, 1.0, -1.0)))
        made[~known] = (x[~known] - mean) @ slope
    return made


def _folds(held_out: Mask, units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deals the units of each side out over folds of about the same number of images."""
    rng = np.random.default_rng(0)
    fold = np.zeros(len(units), dtype=np.int64)
    sides = [np.unique(units[held_out == side], return_counts=True) for side in (False, True)]
    folds = min(FOLDS, *(len(names) for names, _ in sides))
    for names, sizes in sides:
        of_unit = dict.fromkeys(names.tolist(), 0)
        load = np.zeros(folds)
        order = rng.permutation(len(names))
        for place in order[np.argsort(-sizes[order], kind="stable")]:
            least = int(load.argmin())
            load[least] += sizes[place]
            of_unit[int(names[place])] = least
        rows = np.flatnonzero(np.isin(units, names))
        fold[rows] = [of_unit[unit] for unit in units[rows].tolist()]
    return fold


def told_apart(scores: NDArray[np.float64], held_out: Mask, labels: NDArray[np.int64]) -> float:
    """Returns the area under the ROC curve, or that of pairs of one class, whichever is smaller.

    The first alone would also tell another share of the classes, the second alone other names of the classes.
    """
    pairs = wins = 0.0
    for label in np.unique(labels):
        rows = labels == label
        n = float(held_out[rows].sum()) * float((~held_out[rows]).sum())
        if n:
            pairs += n
            wins += n * _auc(scores[rows], held_out[rows])
    every = _auc(scores, held_out)
    return min(every, wins / pairs) if pairs else every


def _auc(scores: NDArray[np.float64], held_out: Mask) -> float:
    n, others = int(held_out.sum()), int((~held_out).sum())
    return float((rankdata(scores)[held_out].sum() - n * (n + 1) / 2) / (n * others))


@dataclass(frozen=True)
class Renaming:
    """Classes whose names in the held-out images fit a probe better when they are exchanged among themselves."""

    # number of each class as labelled, and of the class that it looks like
    names: tuple[tuple[int, int], ...]
    images: int  # labelled so
    before: int  # images whose prediction is their label
    after: int  # images whose prediction is the exchanged label

    @property
    def gain(self) -> int:
        """Images that the exchange explains, beyond those that it no longer explains."""
        return self.after - self.before


def renamings(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> list[Renaming]:
    """Returns the cycles of the permutation of class names that explains most predictions, the largest gain first."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, predicted), 1)
    found = linear_sum_assignment(counts + 1e-6 * np.eye(classes), maximize=True)[1].tolist()
    made, seen = [], set()
    for start in range(classes):
        cycle = []
        place = start
        while place not in seen:
            seen.add(place)
            cycle.append(place)
            place = found[place]
        if len(cycle) > 1:
            pairs = tuple((each, found[each]) for each in cycle)
            before, after = (
                sum(int(counts[a, b]) for a, b in which) for which in ([(a, a) for a in cycle], pairs)
            )
            made.append(Renaming(pairs, int(counts[cycle].sum()), before, after))
    return sorted(made, key=lambda each: -each.gain)
