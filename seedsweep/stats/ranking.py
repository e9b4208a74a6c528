"""Several classifiers, best first: the interval of each, and whether the best is really better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from seedsweep.errors import SeedsweepError
from seedsweep.stats.interval import LEVEL, Floats, Interval, over_correct, wilson
from seedsweep.stats.pairs import (
    Comparison,
    Practical,
    by_group,
    compare,
    correct_answers,
    crossed_mean,
    drawn,
    holm,
    practical,
)
from seedsweep.stats.power import Components, Needed, components, needed

Seeds = Mapping[int, ArrayLike]
ROUNDING = 1e-9
NEAR = 0.05  # a lead of so many points is not called the same for want of images


@dataclass(frozen=True)
class Standing:
    """One arm among others.

    Attributes:
        interval: of its accuracy.
        behind: the best arm's accuracy less its own; None for the best itself, where it classified other images, and
            where it is ahead on the seeds that both have: then the order is by different seeds.
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

    @property
    def practical(self) -> Practical | None:
        """How probable it is that it is the same as the best in practice; None: it was not compared."""
        return practical(self.behind.squares.crossed) if self.behind else None

    @property
    def spread(self) -> Components | None:
        """What makes the difference vary; None: not compared, or over folds, or one image shows nothing of that."""
        if self.behind is None or self.behind.by_folds or self.behind.squares.units == 1:
            return None
        return components(self.behind.squares)

    @cached_property  # it is simulated
    def needed(self) -> Needed | None:
        """How many images or seeds would decide, where these can't."""
        if self.spread is None or self.p is None or self.behind is None or not self.undecided:
            return None
        return needed(self.spread, (1 - LEVEL) * self.behind.p / self.p)  # Holm's factor


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
    if len(values) == 1:
        return over_correct(values[0], groups)
    units = by_group(values, groups)
    over = drawn(values, units)
    share = float(values.mean())
    if share in (0.0, 1.0):
        n = units.shape[1]
        return wilson(round(share * n), n, over=over)
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
    n = len(next(iter(arms[best].values())))
    comparable = {label for label, runs in arms.items() if all(len(each) == n for each in runs.values())}
    pairs = {label: _paired(arms[best], arms[label]) for label in arms if label in comparable - {best}}
    behind = {label: compare(*pair, groups) for label, pair in pairs.items()}
    behind = {label: found for label, found in behind.items() if found.difference.value > -ROUNDING}
    intervals = {
        label: accuracy(np.stack(list(runs.values())), groups if label in comparable else None)
        for label, runs in arms.items()
    }
    return stood(intervals, behind)


def stood(intervals: dict[str, Interval], behind: dict[str, Comparison]) -> dict[str, Standing]:
    """Returns how arms stand: the interval of each, and how those that could be compared with the best are behind."""
    corrected = dict(zip(behind, holm([found.p for found in behind.values()]).tolist(), strict=True))
    result = {}
    for label, interval in intervals.items():
        if label not in behind:
            result[label] = Standing(interval)
            continue
        near = abs(behind[label].difference.value) <= NEAR
        same = (near or None) if corrected[label] > 1 - LEVEL else False
        result[label] = Standing(interval, behind[label], corrected[label], same)
    return result


def _paired(first: dict[int, Floats], second: dict[int, Floats]) -> tuple[Floats, Floats]:
    """Returns the runs of two arms row against row: the same seeds, or else in their order."""
    shared = sorted(set(first) & set(second))
    if shared:
        return np.stack([first[seed] for seed in shared]), np.stack([second[seed] for seed in shared])
    pairs = min(len(first), len(second))
    return np.stack(list(first.values())[:pairs]), np.stack(list(second.values())[:pairs])


class Ranking(dict[str, Standing]):
    """Classifiers by name, best first, each with its :class:`Standing`; printed, it is a table."""

    def __str__(self) -> str:
        """Returns a line for each: accuracy, 95 % interval, points behind the best, p value, and what that means."""
        width = max(len(name) for name in self)
        lines = [f"{'':{width}}  accuracy  95 %         behind  p       "]
        for name, found in self.items():
            interval = f"{found.interval.low:.3f}-{found.interval.high:.3f}"
            line = f"{name:{width}}  {found.interval.value:.3f}     {interval}"
            if found.behind is not None and found.p is not None:
                line += f"  {found.behind.difference.value:.3f}   {found.p:<7.2g} {_meaning(found)}"
            lines.append(line)
        return "\n".join(line.rstrip() for line in lines)


def table(correct: Mapping[str, ArrayLike | Seeds], groups: ArrayLike | None = None) -> Ranking:
    """Ranks several classifiers by accuracy and compares each with the best one.

    The p values are corrected for their number (Holm 1979). Two classifiers are compared seed by seed where their
    seeds have the same numbers, else in the order given. One that classified another number of images is ranked but
    not compared.

    Example:
        >>> import numpy as np, seedsweep as ss
        >>> good = np.repeat([1, 0], [80, 20])
        >>> found = ss.stats.table({"poor": 1 - good, "good": good, "nearly": np.roll(good, 1)})
        >>> list(found), found["nearly"].same, found["poor"].same
        (['good', 'nearly', 'poor'], True, False)

    Args:
        correct: by name: [N] or [S, N], 1 where an image is classified correctly, 0 elsewhere; or a mapping of seed
            numbers to [N].
        groups: [N] names of what belongs together; None: every image is its own.

    Raises:
        SeedsweepError: there is nothing to rank, there are other values than 0 and 1, or the shapes don't fit together.
    """
    if not correct:
        raise SeedsweepError("There is nothing to rank: give correct answers by name.")
    arms = {name: _by_seed(name, given) for name, given in correct.items()}
    means = {
        name: float(np.mean([values.mean() for values in by_seed.values()])) for name, by_seed in arms.items()
    }
    order = sorted(arms, key=lambda name: -means[name])
    if groups is not None:
        correct_answers(next(iter(arms[order[0]].values())), groups)  # one an image
    found = standings(arms, order[0], groups)
    return Ranking((name, found[name]) for name in order)


def _by_seed(name: str, given: ArrayLike | Seeds) -> dict[int, Floats]:
    if not isinstance(given, Mapping):
        return dict(enumerate(correct_answers(given)))
    rows = {seed: correct_answers(values) for seed, values in given.items()}
    if not rows or {values.shape for values in rows.values()} != {(1, next(iter(rows.values())).shape[1])}:
        raise SeedsweepError(
            f"Each seed of {name!r} must have an array [images], of as many images as the others."
        )
    return {seed: values[0] for seed, values in rows.items()}


def _meaning(found: Standing) -> str:
    if found.same:
        return "same within noise"
    return "too few images or seeds to tell" if found.undecided else "worse"
