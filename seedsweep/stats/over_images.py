"""Over images: what the same net may give on other images of the same kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from seedsweep.stats.interval import LEVEL, RESAMPLES, Interval, wilson

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


def over_images(
    labels: Labels,
    predicted: Labels,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Returns percentile bootstrap intervals of ``acc`` and ``macro_f1`` (Efron 1979).

    Only the confusion matrix matters to both, so its occupied cells are drawn in place of the images. Images of one
    group (photographs of one object) are drawn together: they are not independent.

    Args:
        labels: [N] class numbers.
        predicted: [N] class numbers.
        groups: [N] names; None: every image is its own.
        level: of confidence.
        resamples: draws.
        seed: of the draws.
    """
    cells, cell_of = np.unique(np.stack([labels, predicted], 1), axis=0, return_inverse=True)
    counts, over = _draw(cell_of.reshape(-1), len(cells), groups, resamples, seed)
    own = np.bincount(cell_of.reshape(-1), minlength=len(cells))[None].astype(float)
    acc, f1 = _scores(cells, own)
    accs, f1s = _scores(cells, counts)
    found = {}
    for name, value, drawn in (("acc", acc[0], accs), ("macro_f1", f1[0], f1s)):
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        found[name] = Interval(float(value), float(low), float(high), over)
    if acc[0] in (0.0, 1.0):  # every draw is like every other: the bootstrap knows no more
        n = len(np.unique(np.asarray(groups))) if groups is not None and over != "images" else len(labels)
        found["acc"] = wilson(round(float(acc[0]) * n), n, level, over)
        found["macro_f1"] = _macro_f1_at_the_edge(labels, bool(acc[0]), level, over)
    return found


def _macro_f1_at_the_edge(labels: Labels, perfect: bool, level: float, over: str) -> Interval:
    """Returns macro-F1's interval where all predictions are correct, or none: as far as the rarest class allows.

    No closed form is known; F1 of a class is at least its recall where nothing else is taken for it, so the mean of
    the classes' score intervals stands for it, wide where classes are rare.
    """
    _, sizes = np.unique(labels, return_counts=True)
    each = [wilson(int(size) if perfect else 0, int(size), level) for size in sizes]
    low, high = (float(np.mean([getattr(one, end) for one in each])) for end in ("low", "high"))
    return Interval(1.0 if perfect else 0.0, low, high, over)


def _draw(
    cell_of: Labels, n_cells: int, groups: ArrayLike | None, resamples: int, seed: int
) -> tuple[Floats, str]:
    """Returns how often each cell was drawn [resamples, cells], and what was drawn."""
    rng = np.random.default_rng(seed)
    n = len(cell_of)
    _, group_of = np.unique(np.arange(n) if groups is None else np.asarray(groups), return_inverse=True)
    n_groups = int(group_of.max()) + 1
    if n_groups in (1, n):  # see pairs.by_group
        share = np.bincount(cell_of, minlength=n_cells) / n
        return rng.multinomial(n, share, size=resamples).astype(float), "images"
    held = sparse.coo_array((np.ones(n), (group_of, cell_of)), shape=(n_groups, n_cells)).tocsr()
    times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    return np.asarray(times @ held, dtype=float), "groups of images"


def _scores(cells: Labels, counts: Floats) -> tuple[Floats, Floats]:
    """Returns accuracy and macro-F1 [B] of counts [B, cells]; a class that does not occur has no F1."""
    n = int(cells.max()) + 1
    true = counts @ np.eye(n)[cells[:, 0]]
    named = counts @ np.eye(n)[cells[:, 1]]
    correct = cells[:, 0] == cells[:, 1]
    hits = counts[:, correct] @ np.eye(n)[cells[correct, 0]]
    total = true + named
    f1 = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    return hits.sum(1) / counts.sum(1), f1.sum(1) / (total > 0).sum(1)
