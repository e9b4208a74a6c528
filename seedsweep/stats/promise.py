"""Answers only where mistakes stay rare: the lowest confidence from which validation promises so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from seedsweep.stats.interval import group_numbers

SURE = 0.9  # of validations like this one, in so many the promise holds for new photographs


@dataclass(frozen=True)
class Promise:
    """From which confidence on a net may answer."""

    max_error: float  # share of its answers that may be wrong
    threshold: float | None  # the lowest confidence that is answered; None: these images can't promise that
    left: float  # share of these images that is left to a person
    smallest: float  # the smallest share of mistakes that these images can promise for any answer
    images: int  # of validation
    groups: int  # that they are in
    effect: float  # images that count as one, as mistakes come together in a group


def promise(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_], groups: ArrayLike | None, max_error: float
) -> Promise:
    """Finds the lowest confidence above which at most ``max_error`` of the answers are wrong on new groups.

    Of all images that are at least so confident, the share of mistakes has an upper bound (Clopper and Pearson 1934;
    selective classification: Geifman and El-Yaniv 2017). Mistakes come together in photographs: ``effect`` images count
    as one, by the design effect of the mistakes (Kish 1965; for such a bound: Korn and Graubard 1998). It is itself an
    estimate from a few groups, and is taken larger by the square root of 2 of its standard errors.

    Args:
        confidence: [N], of the predicted class.
        correct: [N], whether it is the right one.
        groups: [N] names of what belongs together; None: every image is its own.
        max_error: 0..1.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = ~np.asarray(correct, dtype=bool)
    numbers, count = group_numbers(groups, len(wrong))
    effect = design_effect(wrong, numbers) * (1 + 2 / np.sqrt(max(count - 1, 1)))
    n = np.arange(1, len(wrong) + 1) / effect
    x = np.cumsum(wrong[order]) / effect
    bound = beta.ppf(SURE, x + 1, np.maximum(n - x, 1e-9))
    sorted_ = confidence[order]
    bound[:-1][sorted_[1:] == sorted_[:-1]] = 1.0  # of equally confident images all are answered, or none
    kept = np.flatnonzero(bound <= max_error)
    last = int(kept[-1]) if len(kept) else -1
    return Promise(
        max_error,
        float(sorted_[last]) if len(kept) else None,
        1 - (last + 1) / len(wrong),
        float(bound.min()),
        len(wrong),
        count,
        float(effect),
    )


def design_effect(wrong: NDArray[np.bool_], numbers: NDArray[np.int64]) -> float:
    """Returns how many images count as one because mistakes [N] come together in groups [N], at least 1.

    Where all images are right, or all are wrong, nothing tells how they come together: a group counts as one image.
    """
    sizes = np.bincount(numbers)
    share = float(wrong.mean())
    if len(sizes) == len(wrong):
        return 1.0
    if share in (0.0, 1.0):
        return float((sizes**2).sum() / len(wrong))
    away = np.bincount(numbers, wrong - share)
    variance = float((away**2).sum()) * len(sizes) / max(len(sizes) - 1, 1)
    return max(1.0, variance / (share * (1 - share) * len(wrong)))
