"""How many images or seeds would tell a difference from chance that those at hand can't."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from seedsweep.stats.interval import LEVEL, Floats

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

        def squares(expected: float, freedom: float) -> Floats:
            return np.asarray(expected * rng.chisquare(freedom, REPEATS) / freedom)

        of_units = squares(seeds * self.of_units + self.rest, units - 1.0)
        total, lost = of_units, of_units**2 / (units - 1.0)
        if seeds > 1:
            of_seeds = squares(units * between + self.rest, seeds - 1.0)
            rest_freedom = (seeds - 1.0) * (units - 1.0)
            rest = squares(self.rest, rest_freedom)
            counts = of_seeds > rest  # as crossed_mean has it
            total = total + np.where(counts, of_seeds - rest, 0)
            lost = lost + np.where(counts, of_seeds**2 / (seeds - 1.0) + rest**2 / rest_freedom, 0)
        error = np.sqrt(total / (seeds * units))
        p = 2 * stats.t.sf(np.abs(means) / np.maximum(error, 1e-12), total**2 / np.maximum(lost, 1e-300))
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


def components(difference: Floats) -> Components:
    """Returns the variances of a table [S seeds, N units] of differences, by the mean squares of its two-way layout."""
    n_seeds, n_units = difference.shape
    mean = float(difference.mean())
    if n_seeds == 1:
        return Components(mean, 1, n_units, None, float(difference[0].var(ddof=1)), 0.0)
    seed_means, unit_means = difference.mean(1, keepdims=True), difference.mean(0, keepdims=True)
    freedom = (n_seeds - 1) * (n_units - 1)
    rest = float(((difference - seed_means - unit_means + mean) ** 2).sum()) / freedom
    of_seeds = float(seed_means.var(ddof=1)) - rest / n_units
    of_units = float(unit_means.var(ddof=1)) - rest / n_seeds
    return Components(mean, n_seeds, n_units, max(of_seeds, 0.0), max(of_units, 0.0), rest)


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
