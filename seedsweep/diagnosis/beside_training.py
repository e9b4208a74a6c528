"""How far the validation or test images are from those of training, by features and plain statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.finding import Verdict
from seedsweep.diagnosis.out_of_fold import components
from seedsweep.diagnosis.part_of_training import Mask, cross_validated, drawn_part, told_apart, units_of
from seedsweep.diagnosis.plain_statistics import NAMES, plain_statistics
from seedsweep.diagnosis.stored_features import EVAL_BATCH, Material
from seedsweep.training.options import ArmSettings

DRAWS = 30
FAULT, SUSPECT = 0.90, 0.75  # area under the ROC curve, and
BEYOND, ABOVE = 0.10, 0.05  # more than any part of training reached, or half the way from there to 1
FEWEST = (
    2,
    8,
)  # units (photographs, or images) of the split and of training: with fewer nothing is cross-validated
PIXEL_COLUMNS = 6  # of NAMES, those that the net sees, too: the size of the files is named only
WEIGHT, WIDEST = (
    2.0,
    4.0,
)  # of a plain statistic beside a component of the features; standard deviations that count
LONGEST = 112  # pixels: plain statistics of larger images take seconds
NAMED = 0.5  # standard deviations between two splits, and more than parts of training differ


@dataclass(frozen=True)
class Apart:
    """How far a split is from training."""

    auc: float  # of the classifier, cross-validated
    by_chance: NDArray[np.float64]  # the same of parts of training, [DRAWS]
    scores: NDArray[np.float64]  # [m] of the split's images, high for those that look least like training
    shifts: NDArray[np.float64]  # of each plain statistic, in standard deviations of training, [8]
    shifts_by_chance: NDArray[np.float64]  # the same of parts of training, [DRAWS, 8]

    @property
    def verdict(self) -> Verdict:
        """Says whether the split is further away than parts of training are from the rest."""
        most = float(self.by_chance.max())
        beyond, above = (most + min(step, (1 - most) / 2) for step in (BEYOND, ABOVE))
        if self.auc <= most:
            return Verdict.FINE
        if self.auc >= max(FAULT, beyond):
            return Verdict.FAULT
        return Verdict.SUSPECT if self.auc >= max(SUSPECT, above) else Verdict.FINE

    @property
    def differs_by(self) -> list[tuple[str, float]]:
        """Returns plain statistics that differ beyond chance, and by how much, the largest first."""
        most = np.maximum(np.abs(self.shifts_by_chance).max(0), NAMED)
        order = np.argsort(-np.abs(self.shifts))
        names = list(NAMES)
        return [(names[k], float(self.shifts[k])) for k in order if abs(self.shifts[k]) > most[k]]


@dataclass(frozen=True)
class Compared:
    """A split beside training."""

    rows: NDArray[np.int64]  # of the whole table: training images, then the split's
    is_held: Mask  # which are the split's, [n]
    units: NDArray[np.int64]  # [n] of units_of
    apart: Apart | None  # how far they are from training; None: there are too few units


def beside_training(facts: Audited, material: Material, config: ArmSettings, split: str) -> Compared:
    """Measures how far the images of ``split`` (val or test) are from those of training, by features of ``config``'s
    net.

    Raises:
        SeedsweepError: net, weights or store can't be had.
    """
    n = material.n_train
    own = material.images.table.paths
    paths = own if split == "val" else [*own[:n], *material.test_images.table.paths]
    place = {path: row for row, path in enumerate(facts.table.paths)}
    rows = np.asarray([place[path] for path in paths], dtype=np.int64)
    is_held = np.arange(len(rows)) >= n
    units = units_of([facts.groups[row] for row in rows], is_held)
    if any(
        len(np.unique(units[is_held == side])) < few for side, few in zip((True, False), FEWEST, strict=True)
    ):
        return Compared(rows, is_held, units, None)
    clean = material.features(config)
    features = clean.val if split == "val" else material.test_features(config)
    parts = components(np.concatenate([clean.train.numpy(), features.numpy()]))
    plain = _plain(facts, rows)
    return Compared(rows, is_held, units, measure(parts, plain, facts.table.labels[rows], units, is_held))


def _plain(facts: Audited, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    sides = np.asarray([(facts.files[row].width, facts.files[row].height) for row in rows], dtype=np.float64)
    parts = np.array_split(np.arange(len(rows)), -(-len(rows) // EVAL_BATCH))
    return np.concatenate(
        [
            plain_statistics(_at_most(facts.prepared.pixels.batch(rows[part])).numpy(), sides[part])
            for part in parts
        ]
    )


def _at_most(images: Tensor) -> Tensor:
    """Shrinks uint8 [B, 3, H, W] by averaging where the shorter side is longer than ``LONGEST``."""
    factor = LONGEST / min(images.shape[2:])
    return images if factor >= 1 else functional.interpolate(images.float(), scale_factor=factor, mode="area")


def measure(
    parts: NDArray[np.float64],
    plain: NDArray[np.float64],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    is_held: Mask,
) -> Apart | None:
    """Measures how well a split can be told from training, and what parts of training show by chance.

    A part is as large as the split, or half of training where that is smaller. None: no part can be drawn.

    Args:
        parts: principal components of the features, [n, k].
        plain: statistics of the images, [n, 8].
        labels: [n] class numbers.
        units: [n] of :func:`units_of`.
        is_held: [n] which images are of the split; the others are of training.
    """
    train = ~is_held
    z = (plain - plain[train].mean(0)) / np.maximum(plain[train].std(0), 1e-6)
    x = np.concatenate([parts, WEIGHT * z.clip(-WIDEST, WIDEST)[:, :PIXEL_COLUMNS]], 1)
    scores = cross_validated(x, is_held, units)
    rng = np.random.default_rng(0)
    by_chance, shifts = [], []
    for _ in range(DRAWS):
        part = drawn_part(units[train], min(int(is_held.sum()), int(train.sum()) // 2), rng)
        if min(len(np.unique(units[train][side])) for side in (part, ~part)) < FEWEST[0]:
            continue  # one photograph is most of it: nothing can be cross-validated
        by_chance.append(told_apart(cross_validated(x[train], part, units[train]), part, labels[train]))
        shifts.append(z[train][part].mean(0) - z[train][~part].mean(0))
    if not by_chance:
        return None
    return Apart(
        told_apart(scores, is_held, labels),
        np.asarray(by_chance),
        scores[is_held],
        z[is_held].mean(0) - z[train].mean(0),
        np.asarray(shifts),
    )
