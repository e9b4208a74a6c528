"""Compares two classifiers on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedsweep.errors import SeedsweepError
from seedsweep.stats.answers import correct_answers
from seedsweep.stats.crossed import BOTH, crossed_mean
from seedsweep.stats.interval import LEVEL, RESAMPLES, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """How two arms differ.

    Attributes:
        difference: accuracy of the one less that of the other, 0..1.
        p: of no difference, two-sided.
        method: the test's name.
    """

    difference: Interval
    p: float
    method: str


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Returns the exact p (two-sided) that neither of two classifiers is better.

    Only the images that exactly one of them classifies correctly count (McNemar 1947; recommended for one training run
    each by Dietterich 1998). The binomial distribution serves for few and for many: no approximation is needed.

    Args:
        correct_a: [N] whether the one is correct.
        correct_b: [N] whether the other is, on the same images.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def paired_bootstrap(
    difference: Floats, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0, over: str = "images"
) -> Interval:
    """Returns mean and percentile interval of differences [N], each image drawn with both predictions for it.

    Efron and Tibshirani 1993; for comparing classifiers: Dror and others 2018.

    Args:
        difference: what the one arm scored on an image, less what the other did.
        level: of confidence.
        resamples: draws.
        seed: of the draws.
        over: what the N are.
    """
    difference = np.asarray(difference, dtype=float)
    values, count = np.unique(difference, return_counts=True)  # few: the draws are of these
    n = len(difference)
    drawn = np.random.default_rng(seed).multinomial(n, count / n, size=resamples) @ values / n
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high), over)


def by_group(values: Floats, groups: ArrayLike | None) -> Floats:
    """Returns one value a group and seed, [S, G], whose means are those of the images' values [S, N].

    A group stands for how far its images lie from the mean of all, added up: the linearised ratio of sums (Cochran
    1977, on clusters of unequal size). Sums as they are would take the sizes of the groups for uncertainty.
    """
    if groups is None:
        return values
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    n_groups, n_images = int(group_of.max()) + 1, values.shape[1]
    if n_groups in (1, n_images):  # one group alone says nothing about others: the images are what is left
        return values
    mean = float(values.mean())
    away = np.zeros((len(values), n_groups))
    np.add.at(away.T, group_of, (values - mean).T)
    return np.asarray(mean + away * (n_groups / n_images))


def compare(a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None) -> Comparison:
    """Compares the accuracy of two classifiers on the same images.

    One seed each: McNemar's test, and the paired bootstrap over images. Several: both are crossed random factors
    (see :mod:`seedsweep.stats.crossed`). Images in groups: a group is what is drawn.

    Example:
        >>> import numpy as np, seedsweep as ss
        >>> a = np.repeat([1, 1, 1, 0], 25)  # 75 of 100 correct
        >>> b = np.repeat([1, 1, 0, 0], 25)  # 50 of 100 correct
        >>> found = ss.stats.compare(a, b)
        >>> found.difference.value, found.p < 0.001, found.method
        (0.25, True, "McNemar's exact test")

    Args:
        a: [S, N], 1 where seed s of the one classifies image n correctly, 0 elsewhere; or [N], of one seed.
        b: of the other, of the same shape; row for row its counterpart.
        groups: [N] names of what belongs together, such as photographs of one object; None: every image is its own.

    Returns:
        The difference, ``a`` less ``b``, with its 95 % interval, and the p value of no difference.

    Raises:
        SeedsweepError: there are other values than 0 and 1, or the shapes don't fit together.
    """
    first, second = correct_answers(a, groups), correct_answers(b, groups)
    if first.shape != second.shape:
        raise SeedsweepError(
            f"Two arrays of the same seeds and images can be compared, not {list(np.shape(a))} and {list(np.shape(b))}."
        )
    difference = by_group(first - second, groups)
    grouped = difference.shape[1] != first.shape[1]
    unit = "groups of images" if grouped else "images"
    found = crossed_mean(difference)
    if len(difference) > 1:
        over = BOTH if not grouped else f"{unit} and seeds"
        return Comparison(found.interval(over=over).clipped(-1), found.p_value(), "crossed t test")
    interval = paired_bootstrap(difference[0], over=unit)
    if grouped:
        return Comparison(interval, found.p_value(), "paired t test over groups")
    return Comparison(interval, mcnemar(first[0], second[0]), "McNemar's exact test")


def holm(p: ArrayLike) -> Floats:
    """Returns p values [K] of one table corrected for their number (Holm 1979), in the order given."""
    given = np.asarray(p, dtype=float)
    order = np.argsort(given)
    steps = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
