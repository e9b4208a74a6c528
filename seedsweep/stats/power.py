"""How many images or seeds would tell a difference from chance that those at hand can't."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from seedsweep.stats.interval import LEVEL, Floats
from seedsweep.stats.pairs import MeanSquares

POWER = 0.8  # of repeats in which a difference of this size would show
REPEATS = 4000
MANY_SEEDS, MOST_SEEDS = 10, 50
MOST_TIMES = 100  # as many images as now


@dataclass(frozen=True)
class Components:
    """What makes a mean difference vary, and how much of it was drawn.

    Attributes:
        difference: between two classifiers, -1..1.
        seeds: how many were drawn.
        units: how many images, or groups of images, were drawn.
        of_seeds: variance between seeds; None: one seed does not show it.
        of_units: variance between images, or groups.
        rest: variance of one unit in one seed beyond both.
    """

    difference: float
    seeds: int
    units: int
    of_seeds: float | None
    of_units: float
    rest: float

    def power(self, seeds: int, units: int, level: float) -> float:
        """Returns the share of repeats whose p is below ``level``, by the test of :func:`crossed_mean`.

        The mean and the mean squares that the test goes by are drawn, not the images.
        """
        rng, between = np.random.default_rng(0), self.of_seeds or 0.0
        variance = between / seeds + self.of_units / units + self.rest / (seeds * units)
        means = rng.normal(abs(self.difference), math.sqrt(variance), REPEATS)

        def square(expected: float, freedom: int) -> Floats:
            return np.asarray(expected * rng.chisquare(freedom, REPEATS) / freedom)

        squares = MeanSquares(means, seeds, units, square(seeds * self.of_units + self.rest, units - 1))
        if seeds > 1:
            of_seeds = square(units * between + self.rest, seeds - 1)
            rest = square(self.rest, (seeds - 1) * (units - 1))
            squares = replace(squares, of_seeds=of_seeds, rest=rest)
        error, freedom = squares.error_of_mean()
        p = 2 * stats.t.sf(np.abs(means) / np.maximum(error, 1e-12), freedom)
        return float((p < level).mean())


@dataclass(frozen=True)
class Needed:
    """What would show a difference of this size in four of five repeats.

    Attributes:
        units: images, or groups of images, in all, with as many seeds as now; None: no number of them.
        seeds: in all, with the same images; None: no number of them, or one seed does not show how seeds differ.
        together: where neither would do alone: seeds and units that do; None: neither needed nor enough.
    """

    units: int | None
    seeds: int | None
    together: tuple[int, int] | None = None


def components(squares: MeanSquares) -> Components:
    """Returns the variances that the mean squares of a table of differences [S seeds, N units] show."""
    of_seeds = float(squares.of_seeds - squares.rest) / squares.units
    of_units = float(squares.of_units - squares.rest) / squares.seeds
    return Components(
        float(squares.mean),
        squares.seeds,
        squares.units,
        max(of_seeds, 0.0) if squares.seeds > 1 else None,
        max(of_units, 0.0),
        float(squares.rest),
    )


def needed(found: Components, level: float = 1 - LEVEL) -> Needed:
    """Returns how many units, or else seeds, would do.

    Args:
        found: of the difference; it and the variances are taken for the true ones.
        level: that p must be below, already corrected for the number of comparisons.
    """
    most = MOST_TIMES * found.units
    units = _fewest(lambda n: found.power(found.seeds, n, level), found.units, most)
    if found.of_seeds is None:
        return Needed(units, None)
    seeds = _fewest(lambda n: found.power(n, found.units, level), found.seeds, MOST_SEEDS)
    if units or seeds:
        return Needed(units, seeds)
    many = max(MANY_SEEDS, 2 * found.seeds)
    units = _fewest(lambda n: found.power(many, n, level), found.units, most)
    return Needed(None, None, (many, units) if units else None)


def _fewest(power: Callable[[int], float], low: int, high: int) -> int | None:
    """Returns the smallest number in ``low`` .. ``high`` with enough power; None: there is none."""
    if power(high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle + 1, high)
    return low
