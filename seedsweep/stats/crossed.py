"""Over images and seeds at once: every seed classifies the same images, and both were drawn by chance.

Seeds and images are the two crossed random factors that readers and cases are where several radiologists read the
same films: Dorfman, Berbaum and Metz 1992, with the degrees of freedom of Satterthwaite 1946. That training must be
drawn anew as well as the images, or claims are too bold, is shown by Bouthillier and others 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seedsweep.stats.interval import LEVEL, Interval

Floats = NDArray[np.float64]
BOTH = "images and seeds"


@dataclass(frozen=True)
class CrossedMean:
    """Mean of a table [S, N], its standard error, and the degrees of freedom of the t distribution."""

    mean: float
    error: float
    freedom: float

    def interval(self, level: float = LEVEL, over: str = BOTH) -> Interval:
        """Returns the t interval."""
        half = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error
        return Interval(self.mean, self.mean - half, self.mean + half, over)

    def p_value(self) -> float:
        """Returns the two-sided p of a mean of zero."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))


def crossed_mean(values: Floats) -> CrossedMean:
    """Returns the mean of ``values`` [S seeds, N images] and how surely it is known.

    With one seed, of the images alone. The mean squares of the two-way layout give the variance of the mean,
    ``(MS_seeds + MS_images - MS_rest) / (S N)``; where seeds differ less than chance alone makes them, they add
    nothing.

    Args:
        values: what is averaged, such as 1 for a correct prediction and 0 for a wrong one; at least two images.
    """
    values = np.asarray(values, dtype=float)
    n_seeds, n_images = values.shape
    mean = float(values.mean())
    of_images = n_seeds * float(values.mean(0).var(ddof=1))
    terms = [(of_images, n_images - 1.0)]
    if n_seeds > 1:
        seed_means, image_means = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
        of_seeds = n_images * float(seed_means.var(ddof=1))
        rest_freedom = (n_seeds - 1.0) * (n_images - 1.0)
        rest = float(((values - seed_means - image_means + mean) ** 2).sum()) / rest_freedom
        if of_seeds > rest:
            terms += [(of_seeds, n_seeds - 1.0), (-rest, rest_freedom)]
    total = sum(term for term, _ in terms)
    if total <= 0:
        return CrossedMean(mean, 0.0, n_images - 1.0)
    freedom = total**2 / sum(term**2 / free for term, free in terms)
    return CrossedMean(mean, math.sqrt(total / (n_seeds * n_images)), freedom)
