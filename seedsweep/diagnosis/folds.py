"""Parts of images that are predicted by what was learned on the others; groups stay together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from seedsweep.errors import SeedsweepError

FOLDS = 5
Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def folds_of(labels: NDArray[np.int64], groups: Sequence[str] | None) -> Folds:
    """Returns stratified (train, test) rows; groups stay on one side where some group has several images.

    Few groups make fewer folds, those in which most images meet their own class in training. Classes with fewer
    images than folds are in the test rows of some folds only.

    Raises:
        SeedsweepError: the groups are too few to learn two classes on some and judge them on others.
    """
    names: NDArray[np.int64] | None = None
    most = int(np.bincount(labels).max())
    what = f"{len(labels)} images"
    if groups is not None and len(set(groups)) < len(groups):
        names = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
        n_groups = int(names.max()) + 1
        most = min(most, n_groups)
        what = f"{n_groups} groups of images (photographs)"
    best: Folds = []
    met = 0
    for count in range(max(2, min(FOLDS, most)), 1, -1):
        made = _split(labels, names, count)
        asked = _asked_in(labels, made)
        if asked.sum() > met and len(np.unique(labels[asked])) > 1:
            best, met = made, int(asked.sum())
        if met == len(labels):
            break
    if not best:
        raise SeedsweepError(
            f"{what} are too few to learn each class on some and judge it on others: each class needs at least two."
        )
    return best


def _split(labels: NDArray[np.int64], names: NDArray[np.int64] | None, count: int) -> Folds:
    kind = StratifiedKFold if names is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class smaller than the number of folds
        try:
            return list(kind(count, shuffle=True, random_state=0).split(labels, labels, names))
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
