"""A number and the interval around it: of a share of images, and of a mean over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

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


def wilson(hits: int, n: int, level: float = LEVEL, over: str = "images") -> Interval:
    """Returns the share ``hits`` of ``n`` with its score interval (Wilson 1927), which holds at 0 % and 100 % too."""
    found = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    return Interval(hits / n, float(found.low), float(found.high), over)


def over_seeds(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """Returns mean and t interval of scores [S], one a seed; None for fewer than two.

    Student 1908; recommended for a few training runs by Dietterich 1998.
    """
    scores = np.asarray(values, dtype=float)
    n = len(scores)
    if n < 2:
        return None
    mean = float(scores.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * scores.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, "seeds")
