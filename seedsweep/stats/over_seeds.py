"""Over seeds: what another seed, on the same images, may give."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seedsweep.stats.interval import LEVEL, Interval

Floats = NDArray[np.float64]


def over_seeds(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """Returns mean and t interval of scores [S], one a seed; None for fewer than two.

    The interval to use with a handful of seeds: ``bootstrap_over_seeds`` is then far too narrow.
    Student 1908; recommended for a few training runs by Dietterich 1998.
    """
    scores: Floats = np.asarray(values, dtype=float)
    n = len(scores)
    if n < 2:
        return None
    mean = float(scores.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * scores.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, "seeds")


def bootstrap_over_seeds(values: ArrayLike, level: float = LEVEL, seed: int = 0) -> Interval | None:
    """Returns mean and BCa bootstrap interval of scores [S] (Efron 1987); None for fewer than ten.

    It assumes no normal distribution, and needs more seeds for that.
    """
    scores: Floats = np.asarray(values, dtype=float)
    if len(scores) < 10:
        return None
    mean = float(scores.mean())
    if np.ptp(scores) == 0:
        return Interval(mean, mean, mean, "seeds")
    found = stats.bootstrap(
        (scores,), np.mean, confidence_level=level, method="BCa", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), "seeds")
