"""What an accuracy is worth whose classifier was chosen, among many, by the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from seedsweep.stats.interval import Floats, Interval, Labels, group_numbers, macro_f1_of
from seedsweep.stats.ranking import accuracy

DRAWS = 500
FEWEST = 10  # images, or groups of them, below which a draw leaves too few out


@dataclass(frozen=True)
class Chosen:
    """Accuracy of a classifier that images chose."""

    here: Interval  # on these images, over images and seeds
    unseen: Interval  # the same, corrected for the choice
    among: int  # candidates


@dataclass(frozen=True)
class Candidate:
    """One of those that were chosen from."""

    first: Labels  # [N] class numbers that it predicted, by which the best few were found
    # [S, N] of trainings with fresh seeds, by which the best of the few was found; empty: it was none of them
    again: Sequence[Labels] = ()

    @property
    def final(self) -> Labels:
        """The predictions [S, N] that it is judged by."""
        return np.stack(self.again) if len(self.again) else self.first[None]


def of_chosen(
    labels: Labels,
    candidates: Sequence[Candidate],
    winner: int,
    few: int,
    metric: str = "acc",
    groups: ArrayLike | None = None,
) -> Chosen | None:
    """Estimates the accuracy, on unseen images, of the best of ``candidates``.

    The choice is repeated on images drawn with replacement: the best few by their first predictions, of these the best
    by their final ones. What was chosen is scored on the images that were not drawn. The mean of these scores is free
    of the choice's luck (bootstrap bias corrected cross-validation: Tsamardinos, Greasidou and Borboudakis 2018).

    Args:
        labels: [N] class numbers.
        candidates: all.
        winner: the number of the one that was chosen.
        few: how many were trained again.
        metric: acc | macro_f1: what the choice went by.
        groups: [N] names of what is drawn together; None: every image is its own.

    Returns:
        None: too few images.
    """
    group_of, n = group_numbers(groups, len(labels))
    if n < FEWEST:
        return None
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS)[:, group_of].astype(float)
    out = (times == 0).astype(float)
    firsts = np.stack([_scores(labels, each.first, times, metric) for each in candidates], 1)
    finals = np.stack(
        [np.mean([_scores(labels, run, times, metric) for run in each.final], 0) for each in candidates], 1
    )
    few_of = np.argsort(-firsts, axis=1, kind="stable")[:, :few]
    best = few_of[np.arange(DRAWS), np.take_along_axis(finals, few_of, 1).argmax(1)]
    unseen = np.stack(
        [np.mean([_scores(labels, run, out, "acc") for run in each.final], 0) for each in candidates]
    )
    here = accuracy(candidates[winner].final == labels, groups)
    shift = min(0.0, float(np.nanmean(unseen[best, np.arange(DRAWS)])) - here.value)
    corrected = replace(here, value=here.value + shift, low=here.low + shift, high=here.high + shift)
    return Chosen(here, corrected.clipped(), len(candidates))


def _scores(labels: Labels, predicted: Labels, weights: Floats, metric: str) -> Floats:
    """Returns the score [B] of predictions [N] for each set of ``weights`` [B, N] of the images; NaN without images."""
    if metric == "macro_f1":
        cells, cell_of = np.unique(np.stack([labels, predicted], 1), axis=0, return_inverse=True)
        return macro_f1_of(cells, weights @ np.eye(len(cells))[cell_of.reshape(-1)])
    total = weights.sum(1)
    hits = weights @ (labels == predicted).astype(float)
    return np.asarray(np.divide(hits, total, out=np.full_like(total, np.nan), where=total > 0))
