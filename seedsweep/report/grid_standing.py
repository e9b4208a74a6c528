"""Puts intervals to the arms of a grid, and says which are as good as the best."""

from __future__ import annotations

import os

from seedsweep.runs.grid import ArmRow, JobResult, by_data
from seedsweep.stats.over_seeds import over_seeds
from seedsweep.stats.standing import Standing, standings

SPLIT = "val"  # what the arms are ranked by; the test images choose nothing
SAME = "≈"
SAME_MEANS = "same within noise as the best"
UNDECIDED = "?"
UNDECIDED_MEANS = "more than 5 points behind, but too few images or seeds to tell"


def mark(row: ArmRow) -> str:
    """Returns the mark behind an arm's name, if it has one."""
    if row.standing is None:
        return ""
    return SAME if row.standing.same else UNDECIDED if row.standing.undecided else ""


def judge(rows: list[ArmRow], results: list[JobResult]) -> None:
    """Sets each row's ``standing`` among the arms that were judged by the same images.

    Args:
        rows: best first in each data set; changed in place.
        results: the jobs that the rows were made of.
    """
    for group in by_data(rows):
        _judge(group, [result for result in results if result.held_out == group[0].held_out])


def _judge(rows: list[ArmRow], results: list[JobResult]) -> None:
    runs: dict[str, dict[int, JobResult]] = {}
    partly = {row.label for row in rows if row.diverged}  # the seeds that are left are no fair sample
    for result in results:
        if SPLIT in result.answers and result.label not in partly:
            runs.setdefault(result.label, {})[result.seed] = result
    best = rows[0].label if rows else ""
    if best in runs:
        first = next(iter(runs[best].values()))
        lead = first.answers[SPLIT]
        right = {
            label: {seed: run.answers[SPLIT].right for seed, run in by_seed.items()}
            for label, by_seed in runs.items()
            if label == best or all(_same_images(first, run) for run in by_seed.values())
        }
        found = standings(right, best, lead.groups)
        for row in rows:
            row.standing = found.get(row.label)
    for row in rows:  # other images than the best's, or no predictions at all
        if row.standing is None and (interval := over_seeds(row.val_accs)) is not None:
            row.standing = Standing(interval.clipped())


def _same_images(one: JobResult, other: JobResult) -> bool:
    """Says whether two runs of one data set answered the same images in the same order; copies have other folders."""
    first, second = one.answers[SPLIT].paths, other.answers[SPLIT].paths
    by_content = all(run.held_out is not None and run.held_out.by_content for run in (one, other))
    return first == second or (by_content and _below(first) == _below(second))


def _below(paths: list[str]) -> list[str]:
    """Returns the paths below the folder that all of them are in."""
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(path, folder) if folder else path for path in paths]


def told(rows: list[ArmRow]) -> str:
    """Returns a sentence on what the intervals are and what the marks mean; empty if there are none."""
    standing = next((row.standing for row in rows if row.standing), None)
    if standing is None:
        return ""
    sentence = f"95 %: interval over {standing.interval.over}"
    alone = [row.label for row in rows if row.mean is not None and row.standing is None]
    apart = (
        f" Not compared, for no predictions of the same images are there: {', '.join(alone)}."
        if alone
        else ""
    )
    behind = [row.standing for row in rows if row.standing and row.standing.behind]
    if not behind:
        return f"{sentence}.{apart}"
    test = behind[0].behind.method if behind[0].behind else ""
    further = f"; {UNDECIDED} {UNDECIDED_MEANS}" if any(found.undecided for found in behind) else ""
    return f"{sentence}.  {SAME} {SAME_MEANS} ({test}, Holm-corrected, p > 0.05){further}.{apart}"
