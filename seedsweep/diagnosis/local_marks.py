"""Marks: a small place of the images that tells one class, where the rest of them does not: a drawn text or marker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_curve
from torch import Tensor
from torch.nn import functional

PLACES = 12  # windows of a side, side by side; with those between them nearly twice as many
TOLD, SURE = 0.985, 0.97  # area under the ROC curve, and recall less false alarms, of a mark
SMALL = 0.15  # of all windows: what tells a class at more of them is what the class looks like
RIM = 0.15  # of a side: what lies within it is hardly the object
FEWEST = 12  # images of a class: half choose the window, half judge it
VALUES = ("how red it is", "how blue it is", "how bright it is", "its contrast")


@dataclass(frozen=True)
class Mark:
    """A window that tells a class.

    Attributes:
        label: class number.
        value: of VALUES, that of the window by which the class is told.
        down, right: of the window's middle, 0..1.
        auc: area under the ROC curve, on images that did not choose the window.
        sure: likewise, recall less false alarms at the best threshold.
        share: of all windows, those that tell the class as well by the same value.
    """

    label: int
    value: str
    down: float
    right: float
    auc: float
    sure: float
    share: float

    @property
    def is_at_rim(self) -> bool:
        """Whether it lies where the object hardly is."""
        return min(self.down, self.right, 1 - self.down, 1 - self.right) < RIM


def windows(images: Tensor) -> Tensor:
    """Returns the VALUES of each window of float [B, 3, H, W], 0..255: [B, values, down, right]."""
    size = [max(2, side // PLACES) for side in images.shape[2:]]
    steps = [max(1, side // 2) for side in size]
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    grey = images.mean(1, keepdim=True)
    parts = torch.cat([red - green, blue - green, grey, grey * grey], 1)
    mean = functional.avg_pool2d(parts, size, steps)
    contrast = (mean[:, 3:] - mean[:, 2:3] ** 2).clamp(min=0).sqrt()
    return torch.cat([mean[:, :3], contrast], 1)


def find_marks(batches: Iterable[Tensor], labels: NDArray[np.int64], groups: Sequence[str]) -> list[Mark]:
    """Returns a mark for each class that has one, of batches [B, 3, H, W], 0..255, labels [N] and groups [N]."""
    found = torch.cat([windows(part.float()) for part in batches]).numpy()
    shape = found.shape[1:]
    table = found.reshape(len(found), -1)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    half = np.random.default_rng(0).permutation(numbers.max() + 1)[numbers] % 2 == 0
    ranks = [rankdata(table[part], axis=0) for part in (half, ~half)]
    marks = []
    for label in np.unique(labels):
        is_it = labels == label
        if (
            min((is_it & half).sum(), (is_it & ~half).sum(), (~is_it & half).sum(), (~is_it & ~half).sum())
            < FEWEST // 2
        ):
            continue
        first, second = (_aucs(rank, is_it[part]) for rank, part in zip(ranks, (half, ~half), strict=True))
        best = int(np.abs(first - 0.5).argmax())
        told = abs(second[best] - 0.5) + 0.5
        if told < TOLD:
            continue
        value, down, right = (int(each) for each in np.unravel_index(best, shape))
        sign = np.sign(second[best] - 0.5)
        alarms, recall, _ = roc_curve(is_it[~half], sign * table[~half, best])
        sure = float((recall - alarms).max())
        alike = np.abs(second.reshape(shape)[value] - 0.5) + 0.5 >= TOLD
        mark = Mark(
            int(label),
            VALUES[value],
            (down + 1) / (shape[1] + 1),
            (right + 1) / (shape[2] + 1),
            told,
            sure,
            float(alike.mean()),
        )
        if sure >= SURE and mark.share <= SMALL:
            marks.append(mark)
    return marks


def _aucs(ranks: NDArray[np.float64], is_it: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the area under the ROC curve of each column's ranks [n, k] for the images that ``is_it`` names, [k]."""
    n = int(is_it.sum())
    return np.asarray((ranks[is_it].sum(0) - n * (n + 1) / 2) / (n * (len(is_it) - n)))
