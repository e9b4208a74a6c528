"""Runs of ``data.folds``: which of them make a full table of seeds and folds, and how their arms stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from seedsweep.runs.run_result import RunResult
from seedsweep.stats.ranking import Standing
from seedsweep.stats.resampled import Cells, Deal, rectangle, standings_over_folds

TESTED = "test"  # the part that arms are ranked by: over the folds it is all images


@dataclass(frozen=True)
class Coverage:
    """What an arm's numbers are over.

    Attributes:
        folds: numbers of the folds.
        of: folds in a repeat.
        repeats: times that the images were dealt.
        uncounted: finished runs of other folds or seeds, which would make no full table.
    """

    folds: tuple[int, ...]
    of: int
    repeats: int
    uncounted: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether every image was tested in every repeat."""
        return len(self.folds) == self.of * self.repeats

    @property
    def lacks(self) -> str:
        """What to say behind the arm's name; empty: it has all folds."""
        return "" if self.is_whole else f"({len(self.folds)} of {self.of * self.repeats} folds)"

    @property
    def sentence(self) -> str:
        """What the accuracy is over."""
        how = f"{self.of} folds" + (f", dealt {self.repeats} times" if self.repeats > 1 else "")
        if not self.is_whole:
            how = f"{len(self.folds)} of {self.of * self.repeats} folds"
        what = "all images" if self.is_whole else "images of some folds"
        return f"Accuracy: over {what}, each tested by runs that did not train on it ({how})."


def covered(runs: Collection[RunResult]) -> tuple[list[RunResult], Coverage | None]:
    """Returns the runs of an arm that count, and what they are over; all of them, and None, without folds."""
    cells = {(run.seed, run.fold): run for run in runs if run.fold is not None}
    if not cells:
        return list(runs), None
    seeds, folds = rectangle([(seed, fold) for seed, fold in cells if fold is not None])
    counted = [cells[seed, fold] for seed in seeds for fold in folds]
    how = counted[0].metrics["fold"]
    left = len(runs) - len(counted)
    return counted, Coverage(tuple(folds), int(how["of"]), int(how["repeats"]), left)


def standings_of(arms: Mapping[str, Collection[RunResult]], best: str) -> dict[str, Standing]:
    """Returns how arms stand against the best, over the images and folds of their runs; none without predictions.

    Args:
        arms: runs by label.
        best: the label to compare with.
    """
    cells: dict[str, Cells] = {}
    paths: dict[int, list[str]] = {}
    group_of: dict[str, str] = {}
    for label, runs in arms.items():
        if any(TESTED not in run.predictions for run in runs):
            continue
        cells[label] = {(run.seed, run.fold or 0): run.predictions[TESTED].correct for run in runs}
        for run in runs:
            answers = run.predictions[TESTED]
            paths.setdefault(run.fold or 0, answers.paths)
            if answers.groups is not None:
                group_of |= zip(answers.paths, answers.groups.tolist(), strict=True)
    if best not in cells:
        return {}
    units = {fold: [group_of.get(path, path) for path in its] for fold, its in paths.items()}
    folds = int(next(iter(arms[best])).metrics["fold"]["of"])
    return standings_over_folds(cells, best, Deal(folds, units, bool(group_of)))
