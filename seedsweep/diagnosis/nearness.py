"""Are images of one group nearer to one another, by a net's features, than their class explains? A permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]

EXCESS = 0.02  # share of neighbours beyond chance
LIFT = 2.0  # times as often as chance
DEVIATIONS = 4.0  # standard deviations of chance
DRAWS = 60
NEIGHBOURS = 5
BLOCK = 1024


@dataclass(frozen=True)
class Nearness:
    """How often an image's nearest images are of its own group."""

    share: float  # of the nearest images, 0..1
    chance: float  # the same where each class's images are dealt to the groups at random
    deviations: float  # how far the share lies above chance, in standard deviations of chance

    @property
    def is_clear(self) -> bool:
        """Whether images of one group are alike beyond chance."""
        excess = self.share - self.chance
        return self.deviations >= DEVIATIONS and excess >= EXCESS and self.share >= LIFT * self.chance


@dataclass(frozen=True)
class Neighbours:
    """Images and those nearest to them by a net's features."""

    rows: Labels  # [n] of the whole table
    nearest: Labels  # [n, k] places among ``rows``

    @classmethod
    def of(cls, rows: Labels, parts: NDArray[np.float64]) -> Neighbours:
        """Looks for the nearest images (cosine); ``parts`` are components of features, [n, count]."""
        return cls(rows, nearest_of(parts, np.arange(len(parts)), NEIGHBOURS))


def nearest_of(parts: NDArray[np.float64], groups: Labels, count: int) -> Labels:
    """Returns the places [n, count] of each image's nearest others (cosine of parts [n, k]) of another group [n]."""
    x = parts.astype(np.float32)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    k = min(count, len(x) - 1)
    nearest = []
    for start in range(0, len(x), BLOCK):
        likeness = x[start : start + BLOCK] @ x.T
        likeness[groups[start : start + BLOCK, None] == groups[None]] = -2
        nearest.append(np.argpartition(-likeness, k - 1, axis=1)[:, :k])
    return np.concatenate(nearest)


def measure_nearness(
    numbers: Labels, labels: Labels, neighbours: Neighbours, apart_from: Labels | None = None
) -> Nearness:
    """Counts the nearest images that are of one's own group, and how many chance would give.

    Args:
        numbers: [n] of the groups of ``neighbours.rows``.
        labels: [N] class numbers, of all images.
        apart_from: [n] numbers of finer groups: pairs within them do not count; None: all pairs count.
    """
    nearest, classes = neighbours.nearest, labels[neighbours.rows]
    finer = np.arange(len(numbers)) if apart_from is None else apart_from

    def share(order: Labels) -> float:
        mine, parts = numbers[order], finer[order]
        together = (mine[nearest] == mine[:, None]) & (parts[nearest] != parts[:, None])
        return float(together.mean())

    rng = np.random.default_rng(0)
    by_class = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    drawn = []
    for _ in range(DRAWS):
        order = np.arange(len(classes))
        for rows in by_class:
            order[rows] = rng.permutation(rows)
        drawn.append(share(order))
    chance, real = float(np.mean(drawn)), share(np.arange(len(classes)))
    return Nearness(real, chance, (real - chance) / max(float(np.std(drawn)), 1e-4))


def nearness_of(groups: Sequence[str], labels: Labels, neighbours: Neighbours) -> Nearness:
    """Measures the nearness of the images of all groups, [N] names."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    return measure_nearness(numbers[neighbours.rows], labels, neighbours)
