"""A table of several classifiers, best first, as the command line ranks the arms of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedsweep.errors import SeedsweepError
from seedsweep.stats.answers import correct_answers
from seedsweep.stats.standing import Standing, standings

Seeds = Mapping[int, ArrayLike]


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


def _by_seed(name: str, given: ArrayLike | Seeds) -> dict[int, NDArray[np.float64]]:
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
