"""Photographs that hold several images: does naming the photograph name the class?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMINGS = (
    r"^(.+)[_-]\d+\.\w+$",  # the last number counts the pieces of one photograph
    r"^(\D*\d+)\d[_-]\d+\.\w+$",  # and photographs taken one after the other show the same objects
)
FEWEST = 2.0  # images a group in the mean
MORE = 2  # groups, for each class: with fewer a name is but the class's own


@dataclass(frozen=True)
class Grouping:
    """How groups and classes hang together.

    Attributes:
        pattern: the regular expression that makes the groups.
        groups: [N] names.
        count: of groups.
        pure: groups of at least two images that hold one class only.
        several: groups of at least two images.
        told: share of images whose class is the most frequent one of the others of their group; images without
            others count as not told.
        expected: the same for groups of these sizes filled at random.
    """

    pattern: str
    groups: list[str]
    count: int
    pure: int
    several: int
    told: float
    expected: float


def measure_grouping(pattern: str, groups: Sequence[str], labels: NDArray[np.int64]) -> Grouping:
    """Counts how often a group's other images tell an image's class."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    classes = int(labels.max()) + 1
    content = np.zeros((int(numbers.max()) + 1, classes), dtype=np.int64)
    np.add.at(content, (numbers, labels), 1)
    sizes = content.sum(1)
    told = _told(content, numbers, labels)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(5):
        mixed = rng.permutation(labels)
        filled = np.zeros_like(content)
        np.add.at(filled, (numbers, mixed), 1)
        drawn.append(_told(filled, numbers, mixed))
    several = sizes > 1
    pure = int(((content.max(1) == sizes) & several).sum())
    return Grouping(pattern, list(groups), len(sizes), pure, int(several.sum()), told, float(np.mean(drawn)))


def guess_grouping(names: Sequence[str], labels: NDArray[np.int64]) -> Grouping | None:
    """Looks for photographs in the files' names; None where the names show none that is more than the class's name.

    Args:
        names: of the files.
        labels: [N] class numbers.
    """
    best: Grouping | None = None
    for pattern in NAMINGS:
        regex = re.compile(pattern)
        groups = [match.group(1) if (match := regex.match(name)) else name for name in names]
        count = len(set(groups))
        if len(names) / count < FEWEST or count < MORE * (int(labels.max()) + 1):
            continue
        found = measure_grouping(pattern, groups, labels)
        if best is None or found.told - found.expected > best.told - best.expected:
            best = found
    return best


def _told(content: NDArray[np.int64], numbers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    others = content[numbers].copy()
    others[np.arange(len(labels)), labels] -= 1
    own = others[np.arange(len(labels)), labels]
    return float(((own == others.max(1)) & (own > 0)).mean())
