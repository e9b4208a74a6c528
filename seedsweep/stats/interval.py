"""A number and the interval around it: over images (another sample of the same kind), or over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 2000  # the ends of a percentile interval then move by about 0.001 with the random start


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
        over: what was drawn at random: ``images``, ``groups of images``, ``seeds``, ``images and seeds``, ...
    """

    value: float
    low: float
    high: float
    over: str

    def clipped(self, low: float = 0.0, high: float = 1.0) -> Interval:
        """Returns the interval cut off where no accuracy can be."""
        return Interval(self.value, max(low, self.low), min(high, self.high), self.over)


def wilson(hits: int, n: int, over: str = "images") -> Interval:
    """Returns the share ``hits`` of ``n`` with its score interval (Wilson 1927), which holds at 0 % and 100 % too."""
    found = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Interval(hits / n, float(found.low), float(found.high), over)


def percentiles(value: float, drawn: Floats, over: str) -> Interval:
    """Returns an estimate with its percentile interval (Efron 1979), by the same estimate of draws [resamples]."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high), over)


def t_interval(mean: float, error: float, freedom: float, over: str) -> Interval:
    """Returns a mean with the t interval of its standard error and degrees of freedom."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Interval(mean, mean - half, mean + half, over)


def group_numbers(groups: ArrayLike | None, n: int) -> tuple[Labels, int]:
    """Returns the number of each of ``n`` images' group, [n], and how many groups there are.

    Without groups, and where all images are of one group, each image counts as its own.
    """
    if groups is not None:
        names, group_of = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) > 1:
            return group_of, len(names)
    return np.arange(n), n


def over_seeds(values: ArrayLike) -> Interval | None:
    """Returns mean and t interval of scores [S], one a seed; None for fewer than two.

    Student 1908; recommended for a few training runs by Dietterich 1998.
    """
    scores = np.asarray(values, dtype=float)
    n = len(scores)
    if n < 2:
        return None
    return t_interval(float(scores.mean()), float(scores.std(ddof=1)) / math.sqrt(n), n - 1, "seeds")


def over_correct(
    correct: ArrayLike, groups: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Returns an accuracy with its percentile bootstrap interval (Efron 1979); Wilson's where a bootstrap has no width.

    Images of one group (photographs of one object) are drawn together: they are not independent.

    Args:
        correct: [N], 1 or True where an image is classified correctly.
        groups: [N] names; None: every image is its own.
    """
    hits = np.asarray(correct).astype(np.int64)
    group_of, n_groups = group_numbers(groups, len(hits))
    over = "images" if n_groups == len(hits) else "groups of images"
    share = float(hits.mean())
    if share in (0.0, 1.0):  # all draws are equal
        return wilson(round(share * n_groups), n_groups, over)
    counts = _drawn(hits, 2, group_of, n_groups, resamples, seed)
    return percentiles(share, counts[:, 1] / counts.sum(1), over)


def over_images(
    labels: Labels,
    predicted: Labels,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Returns percentile bootstrap intervals of ``acc`` and ``macro_f1`` (Efron 1979).

    Of accuracy see :func:`over_correct`. Only the confusion matrix matters to macro-F1, so its occupied cells are drawn
    in place of the images.

    Args:
        labels: [N] class numbers.
        predicted: [N] class numbers.
        groups: [N] names; None: every image is its own.
    """
    cells, cell_of = np.unique(np.stack([labels, predicted], 1), axis=0, return_inverse=True)
    cell_of = cell_of.reshape(-1)
    group_of, n_groups = group_numbers(groups, len(labels))
    acc = over_correct(labels == predicted, groups, resamples, seed)
    if acc.value in (0.0, 1.0):
        return {"acc": acc, "macro_f1": _macro_f1_at_the_edge(labels, bool(acc.value), acc.over)}
    f1 = macro_f1_of(cells, np.bincount(cell_of, minlength=len(cells))[None].astype(float))
    f1s = macro_f1_of(cells, _drawn(cell_of, len(cells), group_of, n_groups, resamples, seed))
    return {"acc": acc, "macro_f1": percentiles(f1[0], f1s, acc.over)}


def _macro_f1_at_the_edge(labels: Labels, perfect: bool, over: str) -> Interval:
    """Returns macro-F1's interval where all predictions are correct, or none: as far as the rarest class allows.

    No closed form is known; F1 of a class is at least its recall where nothing else is taken for it, so the mean of
    the classes' score intervals stands for it, wide where classes are rare.
    """
    _, sizes = np.unique(labels, return_counts=True)
    each = [wilson(int(size) if perfect else 0, int(size)) for size in sizes]
    low, high = (float(np.mean([getattr(one, end) for one in each])) for end in ("low", "high"))
    return Interval(1.0 if perfect else 0.0, low, high, over)


def _drawn(
    cell_of: Labels, n_cells: int, group_of: Labels, n_groups: int, resamples: int, seed: int
) -> Floats:
    """Returns how often each cell was drawn, [resamples, cells]."""
    rng, n = np.random.default_rng(seed), len(cell_of)
    if n_groups == n:
        share = np.bincount(cell_of, minlength=n_cells) / n
        return rng.multinomial(n, share, size=resamples).astype(float)
    held = sparse.coo_array((np.ones(n), (group_of, cell_of)), shape=(n_groups, n_cells)).tocsr()
    times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    return np.asarray(times @ held, dtype=float)


def macro_f1_of(cells: Labels, counts: Floats) -> Floats:
    """Returns macro-F1 [B] of counts [B, cells]; a class that does not occur has no F1."""
    n = int(cells.max()) + 1
    true = counts @ np.eye(n)[cells[:, 0]]
    named = counts @ np.eye(n)[cells[:, 1]]
    correct = cells[:, 0] == cells[:, 1]
    hits = counts[:, correct] @ np.eye(n)[cells[correct, 0]]
    total = true + named
    f1 = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(f1.sum(1) / (total > 0).sum(1))
