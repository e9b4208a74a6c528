"""How much of a loss each of several faults explains, in whatever order they are fixed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import factorial

Value = Callable[[frozenset[int]], float]


def shapley(n: int, value: Value) -> list[float]:
    """Returns each fault's share of ``value(all fixed) - value(none fixed)``; the shares add up to it.

    A fault's share is its gain averaged over all orders of fixing (Shapley 1953): where one fault hides another,
    neither order alone would tell.

    Args:
        n: faults; 2**n values are asked for.
        value: accuracy with a set of faults fixed.
    """
    shares = [0.0] * n
    for fault in range(n):
        others = [other for other in range(n) if other != fault]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for fixed in combinations(others, size):
                before = frozenset(fixed)
                shares[fault] += weight * (value(before | {fault}) - value(before))
    return shares


def within(shares: list[float], lost: float | None) -> list[float]:
    """Returns ``shares`` whose positive ones together are at most ``lost``, each reduced alike where they exceed it.

    Args:
        shares: of faults, 0..1; some may be negative.
        lost: accuracy, 0..1; None: not known, all stay.
    """
    positive = sum(share for share in shares if share > 0)
    if lost is None or positive <= max(lost, 0.0):
        return list(shares)
    return [share * max(lost, 0.0) / positive if share > 0 else share for share in shares]
