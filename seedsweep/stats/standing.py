"""Where each arm of a table stands: its interval, and whether the best is really better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedsweep.stats.answers import correct_answers
from seedsweep.stats.crossed import BOTH, crossed_mean
from seedsweep.stats.interval import LEVEL, Interval
from seedsweep.stats.over_images import wilson
from seedsweep.stats.pairs import Comparison, by_group, compare, holm, paired_bootstrap

Floats = NDArray[np.float64]
NEAR = 0.05  # a lead of so many points is not called the same for want of images


@dataclass(frozen=True)
class Standing:
    """One arm among others.

    Attributes:
        interval: of its accuracy.
        behind: the best arm's accuracy less its own; None for the best itself, and where it classified other images.
        p: of no difference, Holm-corrected over the table; None likewise.
        same: as good as the best as far as these images and seeds can tell, and no more than ``NEAR`` behind; False
            where it is worse beyond chance; None where neither can be said.
    """

    interval: Interval
    behind: Comparison | None = None
    p: float | None = None
    same: bool | None = None

    @property
    def undecided(self) -> bool:
        """Whether it was compared and is far behind, but the images or seeds are too few to call that no chance."""
        return self.behind is not None and self.same is None


def accuracy(correct: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Returns an accuracy with its 95 % interval.

    The interval is over images for one seed (bootstrap), over images and seeds for several. Where all images or none
    are classified correctly it is Wilson's.

    Example:
        >>> import numpy as np, seedsweep as ss
        >>> found = ss.stats.accuracy(np.repeat([1, 0], [80, 20]))
        >>> found.value, found.low < 0.75, found.high > 0.85, found.over
        (0.8, True, True, 'images')

    Args:
        correct: [S, N], 1 where seed s classifies image n correctly, 0 elsewhere; or [N], of one seed.
        groups: [N] names of what belongs together, such as photographs of one object; None: every image is its own.

    Raises:
        SeedsweepError: there are other values than 0 and 1, or the shapes don't fit together.
    """
    values = correct_answers(correct, groups)
    units = by_group(values, groups)
    grouped = units.shape[1] != values.shape[1]
    unit = "groups of images" if grouped else "images"
    over = unit if len(values) == 1 else BOTH if not grouped else f"{unit} and seeds"
    share = float(values.mean())
    if share in (0.0, 1.0):
        n = units.shape[1]
        return wilson(round(share * n), n, over=over)
    if len(values) == 1:
        return paired_bootstrap(units[0], over=over).clipped()
    return crossed_mean(units).interval(over=over).clipped()


def standings(
    arms: dict[str, dict[int, Floats]], best: str, groups: ArrayLike | None = None
) -> dict[str, Standing]:
    """Compares every arm with the best.

    The best was chosen by the accuracies that are compared, so its lead is a little flattered: an arm that is
    nevertheless called the same is so with good reason.

    Args:
        arms: by label and seed, [N] of 1 (correct) or 0; N may differ where the images are others.
        best: the label to compare with.
        groups: [N] of the best arm's images; None: every image is its own.
    """
    lead = arms[best]
    n = len(next(iter(lead.values())))
    behind: dict[str, Comparison] = {}
    for label, runs in arms.items():
        if label != best and all(len(each) == n for each in runs.values()):
            ours, theirs = _paired(lead, runs)
            behind[label] = compare(ours, theirs, groups)
    corrected = dict(zip(behind, holm([found.p for found in behind.values()]), strict=True))
    result = {}
    for label, runs in arms.items():
        own = groups if all(len(each) == n for each in runs.values()) else None
        interval = accuracy(np.stack(list(runs.values())), own)
        if label in behind:
            p = float(corrected[label])
            near = abs(behind[label].difference.value) <= NEAR
            result[label] = Standing(interval, behind[label], p, (near or None) if p > 1 - LEVEL else False)
        else:
            result[label] = Standing(interval)
    return result


def _paired(first: dict[int, Floats], second: dict[int, Floats]) -> tuple[Floats, Floats]:
    """Returns the runs of two arms row against row: the same seeds, or else in their order."""
    shared = sorted(set(first) & set(second))
    if shared:
        return np.stack([first[seed] for seed in shared]), np.stack([second[seed] for seed in shared])
    pairs = min(len(first), len(second))
    return np.stack(list(first.values())[:pairs]), np.stack(list(second.values())[:pairs])
