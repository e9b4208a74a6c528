"""Compares two classifiers on the same images, of one seed or of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from seedsweep.errors import SeedsweepError
from seedsweep.stats.interval import (
    LEVEL,
    RESAMPLES,
    Floats,
    Interval,
    group_numbers,
    percentiles,
    t_interval,
)


def correct_answers(correct: ArrayLike, groups: ArrayLike | None = None) -> Floats:
    """Returns ``correct``, [N] or [S seeds, N images], as float64 [S, N] of 0 and 1.

    Args:
        correct: 1 or True where an image is classified correctly, 0 or False elsewhere.
        groups: [N] names, or None.

    Raises:
        SeedsweepError: there are other values, no images, another number of dimensions, or not one group an image.
    """
    values = np.atleast_2d(np.asarray(correct, dtype=float))
    if values.ndim != 2 or values.size == 0:
        raise SeedsweepError(
            f"Correct answers must be an array [images] or [seeds, images], but its shape is {list(np.shape(correct))}."
        )
    if not np.isin(values, (0, 1)).all():
        raise SeedsweepError(
            "Correct answers must be 1 (or True) and wrong ones 0 (or False), and nothing else."
        )
    if groups is not None and np.shape(groups) != values.shape[1:]:
        raise SeedsweepError(
            f"There must be one group for each of the {values.shape[1]} images, but the groups' shape is "
            f"{list(np.shape(groups))}."
        )
    return values


@dataclass(frozen=True)
class CrossedMean:
    """Mean of a table [S, N], its standard error, and the degrees of freedom of the t distribution."""

    mean: float
    error: float
    freedom: float

    def interval(self, over: str = "images and seeds") -> Interval:
        """Returns the t interval; units that all agree could still be chance (Clopper and Pearson's bound)."""
        if self.error == 0 and self.mean != 0:
            share = ((1 - LEVEL) / 2) ** (1 / (self.freedom + 1))  # of units, if all of so many agree
            end = self.mean * (2 * share - 1)  # the others lie as far on the other side
            return Interval(self.mean, min(self.mean, end), max(self.mean, end), over)
        return t_interval(self.mean, self.error, self.freedom, over)

    def p_value(self) -> float:
        """Returns the two-sided p of a mean of zero; the sign test's where all units agree."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else float(0.5**self.freedom)
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way layout of a table [S seeds, N units]; those of B tables are arrays [B].

    Attributes:
        mean: of the table.
        seeds: S.
        units: N images, or groups of images.
        of_units: between units.
        of_seeds: between seeds; 0 of one seed.
        rest: beyond both; 0 of one seed.
    """

    mean: Floats | float
    seeds: int
    units: int
    of_units: Floats | float
    of_seeds: Floats | float = 0.0
    rest: Floats | float = 0.0

    @classmethod
    def of(cls, values: Floats) -> MeanSquares:
        """Returns those of a table [S, N]."""
        n_seeds, n_units = values.shape
        mean = float(values.mean())
        if n_units == 1:  # nothing shows how units differ
            return cls(mean, n_seeds, 1, 0.0)
        of_units = n_seeds * float(values.mean(0).var(ddof=1))
        if n_seeds == 1:
            return cls(mean, 1, n_units, of_units)
        seed_means, unit_means = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
        of_seeds = n_units * float(seed_means.var(ddof=1))
        rest = float(((values - seed_means - unit_means + mean) ** 2).sum()) / ((n_seeds - 1) * (n_units - 1))
        return cls(mean, n_seeds, n_units, of_units, of_seeds, rest)

    def error_of_mean(self) -> tuple[Floats, Floats]:
        """Returns the standard error of the mean, and its degrees of freedom; see :func:`crossed_mean`."""
        counts = np.asarray(self.of_seeds > self.rest)
        total = self.of_units + np.where(counts, self.of_seeds - self.rest, 0.0)
        lost = self.of_units**2 / (self.units - 1)
        if self.seeds > 1:
            rest_freedom = (self.seeds - 1) * (self.units - 1)
            of_both = self.of_seeds**2 / (self.seeds - 1) + self.rest**2 / rest_freedom
            lost = lost + np.where(counts, of_both, 0.0)
        return np.sqrt(total / (self.seeds * self.units)), total**2 / np.maximum(lost, 1e-300)

    @property
    def crossed(self) -> CrossedMean:
        """The mean of one table, and how surely it is known."""
        if self.units == 1:
            return CrossedMean(float(self.mean), 0.0, 0.0)
        error, freedom = map(float, self.error_of_mean())
        return CrossedMean(float(self.mean), error, freedom if error else self.units - 1.0)


def crossed_mean(values: Floats) -> CrossedMean:
    """Returns the mean of ``values`` [S seeds, N images] and how surely it is known.

    Seeds and images are the two crossed random factors that readers and cases are where several radiologists read the
    same films: Dorfman, Berbaum and Metz 1992, with the degrees of freedom of Satterthwaite 1946. That training must be
    drawn anew as well as the images, or claims are too bold, is shown by Bouthillier and others 2021. With one seed,
    of the images alone. The mean squares of the two-way layout give the variance of the mean,
    ``(MS_seeds + MS_images - MS_rest) / (S N)``; where seeds differ less than chance alone makes them, they add
    nothing.

    Args:
        values: what is averaged, such as 1 for a correct prediction and 0 for a wrong one.
    """
    return MeanSquares.of(np.asarray(values, dtype=float)).crossed


@dataclass(frozen=True)
class Practical:
    """Probabilities that one classifier is ahead of another, practically the same, or behind; they add up to 1.

    They are those of the t distribution around the difference, the posterior under a flat prior, as in Benavoli and
    others 2017, with the variance of :func:`crossed_mean`.
    """

    ahead: float
    same: float
    behind: float


def practical(found: CrossedMean, rope: float = 0.01) -> Practical | None:
    """Returns how probable it is that two classifiers differ by no more than ``rope``, or by more on either side.

    Args:
        found: mean of the correct answers of the other less those of the one.
        rope: largest difference (0..1) that counts as none in practice.

    Returns:
        None where all images agree on a difference, so that nothing shows how it varies.
    """
    if found.error == 0:
        return Practical(0.0, 1.0, 0.0) if found.mean == 0 and found.freedom > 0 else None
    ahead, behind = (
        float(stats.t.cdf((-rope + sign * found.mean) / found.error, found.freedom)) for sign in (-1, 1)
    )
    return Practical(ahead, 1 - ahead - behind, behind)


@dataclass(frozen=True)
class Comparison:
    """How two arms differ.

    Attributes:
        difference: accuracy of the one less that of the other, 0..1.
        p: of no difference, two-sided.
        method: the test's name.
        squares: of the differences by seed and image, or group of images, or fold.
        by_folds: whether the images were dealt into folds.
    """

    difference: Interval
    p: float
    method: str
    squares: MeanSquares
    by_folds: bool = False


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Returns the exact p (two-sided) that neither of two classifiers is better.

    Only the images that exactly one of them classifies correctly count (McNemar 1947; recommended for one training run
    each by Dietterich 1998).

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
    difference: Floats, resamples: int = RESAMPLES, seed: int = 0, over: str = "images"
) -> Interval:
    """Returns mean and percentile interval of differences [N], each image drawn with both predictions for it.

    Efron and Tibshirani 1993; for comparing classifiers: Dror and others 2018.

    Args:
        difference: what the one arm scored on an image, less what the other did.
        over: what the N are.
    """
    difference = np.asarray(difference, dtype=float)
    values, count = np.unique(difference, return_counts=True)  # few: the draws are of these
    n = len(difference)
    drawn = np.random.default_rng(seed).multinomial(n, count / n, size=resamples) @ values / n
    return percentiles(difference.mean(), drawn, over)


def by_group(values: Floats, groups: ArrayLike | None) -> Floats:
    """Returns one value a group and seed, [S, G], whose means are those of the images' values [S, N].

    A group stands for how far its images lie from the mean of all, added up: the linearised ratio of sums (Cochran
    1977, on clusters of unequal size). Sums as they are would take the sizes of the groups for uncertainty.
    """
    n_images = values.shape[1]
    group_of, n_groups = group_numbers(groups, n_images)
    if n_groups == n_images:
        return values
    mean = float(values.mean())
    away = np.zeros((len(values), n_groups))
    np.add.at(away.T, group_of, (values - mean).T)
    return np.asarray(mean + away * (n_groups / n_images))


def compare(a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None) -> Comparison:
    """Compares the accuracy of two classifiers on the same images.

    One seed each: McNemar's test, and the paired bootstrap over images. Several: both are crossed random factors
    (see :func:`crossed_mean`). Images in groups: a group is what is drawn.

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
    over = drawn(first, difference)
    squares = MeanSquares.of(difference)
    found = squares.crossed
    if len(difference) > 1:
        method = "crossed t test" if found.error else "sign test"
        return Comparison(found.interval(over=over).clipped(-1), found.p_value(), method, squares)
    interval = paired_bootstrap(difference[0], over=over) if found.error else found.interval(over=over)
    if over != "images":
        method = "paired t test over groups" if found.error else "sign test over groups"
        return Comparison(interval.clipped(-1), found.p_value(), method, squares)
    return Comparison(interval, mcnemar(first[0], second[0]), "McNemar's exact test", squares)


def drawn(values: Floats, by_group: Floats) -> str:
    """Says what was drawn by chance where values [S, N] of images became values [S, G] of groups."""
    unit = "images" if by_group.shape[1] == values.shape[1] else "groups of images"
    return unit if len(values) == 1 else f"{unit} and seeds"


def holm(p: ArrayLike) -> Floats:
    """Returns p values [K] of one table corrected for their number (Holm 1979), in the order given."""
    given = np.asarray(p, dtype=float)
    order = np.argsort(given)
    steps = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
