"""Accuracy over folds: seeds, the images, and which of them were trained on, are drawn by chance.

Runs that share training images are no independent draws of them, so the variance between folds alone is too small. It
is corrected as by Nadeau and Bengio 2003, for (repeated) cross-validation by Bouckaert and Frank 2004: with J folds
of K a repeat the variance of the mean is ``(1 / J + 1 / (K - 1))`` of the one between folds. Seeds are the other factor
of a two-way layout, as in :func:`seedsweep.stats.pairs.crossed_mean`. Folds may be alike by chance, so no interval is
narrower than the one over images and seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seedsweep.stats.interval import Floats, Interval, Labels
from seedsweep.stats.pairs import Comparison, MeanSquares, compare
from seedsweep.stats.ranking import ROUNDING, Standing, accuracy, stood

Cell = tuple[int, int]  # seed, fold
Cells = Mapping[Cell, Floats]  # [n] of each: 1 where an image is classified correctly, 0 elsewhere


@dataclass(frozen=True)
class Deal:
    """How images were dealt into folds.

    Attributes:
        folds: in a repeat.
        units: by number of the fold, [n] names of the images, or of what belongs together.
        grouped: whether they are of groups.
    """

    folds: int
    units: Mapping[int, Sequence[str]]
    grouped: bool = False


@dataclass(frozen=True)
class Answers:
    """Correct answers ``values`` [S, N] of seeds, over the images of some folds: ``fold_of`` and ``units`` are [N]."""

    values: Floats
    fold_of: Labels
    units: Sequence[str]
    deal: Deal

    @classmethod
    def of(cls, cells: Cells, chosen: tuple[list[int], list[int]], deal: Deal) -> Answers:
        """Returns the answers of the seeds and folds that are chosen."""
        seeds, folds = chosen
        values = np.stack([np.concatenate([cells[seed, fold] for fold in folds]) for seed in seeds])
        fold_of = np.repeat(folds, [len(deal.units[fold]) for fold in folds])
        return cls(values, fold_of, [unit for fold in folds for unit in deal.units[fold]], deal)

    @property
    def groups(self) -> Sequence[str] | None:
        """Names of what is drawn together: of an image all its repeats are."""
        return self.units if len(set(self.units)) < len(self.units) else None

    @property
    def over(self) -> str:
        """What is drawn by chance."""
        unit = "groups of images" if self.deal.grouped else "images"
        several = len(self.values) > 1, len(np.unique(self.fold_of)) > 1
        drawn = [unit, *["seeds"] * several[0], *["splits"] * several[1]]
        return " and ".join([", ".join(drawn[:-1]), drawn[-1]] if drawn[1:] else drawn)

    def squares(self) -> MeanSquares:
        """Returns the mean squares of the accuracies by seed and fold, those between folds corrected."""
        folds = np.unique(self.fold_of)
        table = np.stack([self.values[:, self.fold_of == fold].mean(1) for fold in folds], 1)
        found = MeanSquares.of(table)
        larger = 1 + len(folds) / (self.deal.folds - 1)
        return replace(found, mean=float(self.values.mean()), of_units=found.of_units * larger)


def rectangle(cells: Collection[Cell]) -> tuple[list[int], list[int]]:
    """Returns the seeds, and the folds that each of them has, that make the most cells; empty of none."""
    folds: dict[int, set[int]] = {}
    for seed, fold in sorted(cells):
        folds.setdefault(seed, set()).add(fold)
    best: tuple[list[int], list[int]] = [], []
    order = sorted(folds, key=lambda seed: -len(folds[seed]))
    for n in range(1, len(order) + 1):
        shared = set.intersection(*(folds[seed] for seed in order[:n]))
        if n * len(shared) > len(best[0]) * len(best[1]):
            best = sorted(order[:n]), sorted(shared)
    return best


def over_folds(cells: Cells, deal: Deal) -> Interval:
    """Returns the accuracy of an arm over the images of its folds, with its 95 % interval.

    Args:
        cells: its answers by seed and fold; those count that make a full table.
        deal: how the images were dealt.
    """
    answers = Answers.of(cells, rectangle(cells), deal)
    of_images = accuracy(answers.values, answers.groups)
    found = answers.squares().crossed
    of_folds = found.interval().clipped() if found.error else of_images
    return replace(max(of_images, of_folds, key=_width), over=answers.over)


def compare_over_folds(a: Cells, b: Cells, deal: Deal) -> Comparison | None:
    """Compares two arms on the folds and seeds that both have; None: there are none.

    Args:
        a: answers of the one.
        b: of the other.
        deal: how the images were dealt.

    Returns:
        Of the comparison over images and seeds, and the corrected resampled t test over folds, the one with the
        wider interval.
    """
    chosen = rectangle(a.keys() & b.keys())
    if not chosen[0]:
        return None
    one, other = Answers.of(a, chosen, deal), Answers.of(b, chosen, deal)
    found = compare(one.values, other.values, one.groups)
    squares = replace(one, values=one.values - other.values).squares()
    crossed = squares.crossed
    interval = crossed.interval().clipped(-1)
    if crossed.error and _width(interval) > _width(found.difference):
        found = Comparison(interval, crossed.p_value(), "corrected resampled t test", squares)
    return replace(found, difference=replace(found.difference, over=one.over), by_folds=True)


def standings_over_folds(arms: Mapping[str, Cells], best: str, deal: Deal) -> dict[str, Standing]:
    """Compares every arm with the best, as :func:`seedsweep.stats.ranking.standings` does on one split.

    Args:
        arms: answers by label.
        best: the label to compare with.
        deal: how the images were dealt.
    """
    found = {label: compare_over_folds(arms[best], arms[label], deal) for label in arms if label != best}
    behind = {label: each for label, each in found.items() if each and each.difference.value > -ROUNDING}
    return stood({label: over_folds(cells, deal) for label, cells in arms.items()}, behind)


def _width(interval: Interval) -> float:
    return interval.high - interval.low
