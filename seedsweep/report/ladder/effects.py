"""What each change was worth, with its interval over seeds, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seedsweep.report.ladder.read import PUT_BACK, Arm, Ladder
from seedsweep.stats.interval import Interval, over_seeds

TWICE, ONCE = "rescale_twice", "auto"  # input scaling
BATCH, STORED = "batch_stats", "inference"  # BatchNorm policy


@dataclass(frozen=True)
class Effect:
    """An arm against the one it differs from in one thing.

    Attributes:
        arm: what was changed.
        before: what it is compared with; None: the first rung, or nothing to compare with.
        level: its accuracy; None: no run finished.
        delta: the change in accuracy, seed by seed; None: nothing to compare. Its ends are NaN for one seed.
        sentence: all of that in words.
    """

    arm: Arm
    before: Arm | None
    level: Interval | None
    delta: Interval | None
    sentence: str


@dataclass(frozen=True)
class TwoByTwo:
    """Input scaling against BatchNorm policy, with all other settings of the first rung.

    Attributes:
        cells: by scaling and policy; None: not in the grid, or no run finished.
        interaction: what fixing BatchNorm brings where inputs are scaled once, less what it brings where they are
            scaled twice; None: a cell lacks.
        sentence: what that means.
    """

    cells: dict[tuple[str, str], Interval | None]
    interaction: Interval | None
    sentence: str


def rungs(ladder: Ladder) -> list[Effect]:
    """Returns the rungs from the first to the last, each against the one before it."""
    return [_effect(ladder, arm) for arm in ladder.rungs]


def put_back(ladder: Ladder) -> list[Effect]:
    """Returns the faults put back alone, the costliest first."""
    found = [_effect(ladder, arm) for arm in ladder.of(PUT_BACK)]
    return sorted(found, key=lambda e: (ladder.arms.index(e.before) if e.before else -1, _value(e.delta)))


def two_by_two(ladder: Ladder) -> TwoByTwo | None:
    """Returns the table around the first rung; None if fewer than three of its cells are there."""
    first = ladder.rungs[0]
    arms = {(arm.scaling, arm.policy): arm for arm in reversed(ladder.alike_but(first))}
    wanted = [(scaling, policy) for scaling in (TWICE, ONCE) for policy in (BATCH, STORED)]
    cells = {cell: arms[cell].accs if cell in arms else {} for cell in wanted}
    if sum(bool(accs) for accs in cells.values()) < 3:
        return None
    seeds = sorted(set.intersection(*(set(accs) for accs in cells.values())))
    interaction = None
    sentence = "A cell is missing, so nothing can be said about how the two faults go together."
    if seeds:
        at = {cell: np.asarray([accs[seed] for seed in seeds]) for cell, accs in cells.items()}
        right = at[ONCE, STORED] - at[ONCE, BATCH]
        wrong = at[TWICE, STORED] - at[TWICE, BATCH]
        interaction = _interval(right - wrong)
        sentence = (
            f"BatchNorm in inference mode brings {_points(right.mean())} where inputs are scaled once, and "
            f"{_points(wrong.mean())} where they are scaled twice: {_together(interaction)}."
        )
    return TwoByTwo({cell: level(accs) for cell, accs in cells.items()}, interaction, sentence)


def level(accs: Mapping[int, float]) -> Interval | None:
    """Returns the mean accuracy and its t interval over seeds, cut at 0 and 1; None without a run."""
    if not accs:
        return None
    found = _interval(np.asarray(list(accs.values())))
    return found if np.isnan(found.low) else found.clipped()


def _together(interaction: Interval) -> str:
    if np.isnan(interaction.low):
        return "one seed, so whether one fault hides the other is not told from noise"
    if interaction.low > 0:
        return "inputs scaled twice hide what BatchNorm costs"
    if interaction.high < 0:
        return "fixing one removes part of what the other costs"
    return "within noise the two add up"


def _effect(ladder: Ladder, arm: Arm) -> Effect:
    before = ladder.before(arm)
    found = level(arm.accs)
    delta = None
    if before is not None and (seeds := sorted(set(arm.accs) & set(before.accs))):
        delta = _interval(np.asarray([arm.accs[seed] - before.accs[seed] for seed in seeds]))
    return Effect(arm, before, found, delta, _sentence(ladder, arm, before, found, delta))


def _sentence(
    ladder: Ladder, arm: Arm, before: Arm | None, found: Interval | None, delta: Interval | None
) -> str:
    name = f"{arm.label[:1].upper()}{arm.label[1:]}"
    if found is None:
        return f"{name}: no run finished."
    if delta is None or before is None or before.mean is None:
        text = f"{name} ({arm.change}): {_share(found.value)}{_ends(found, len(arm.accs))}"
        if arm is ladder.rungs[0] and ladder.majority is not None:
            text += f"; always the largest class gives {_share(ladder.majority)}"
        return f"{text}."
    what = f"{name}: {_points(delta.value)}"
    seeds = len(set(arm.accs) & set(before.accs))
    if np.isnan(delta.low):
        told = " (one seed, so no interval)"
    else:
        told = f" ({100 * delta.low:+.1f} to {100 * delta.high:+.1f} over {seeds} seeds)"
        told += ", within noise" if delta.low <= 0 <= delta.high else ""
    return f"{what}{told}, {_share(found.value)} against {_share(before.mean)} ({before.label})."


def _interval(values: np.ndarray) -> Interval:
    """Returns mean and t interval; its ends are NaN for one value."""
    return over_seeds(values) or Interval(float(values.mean()), float("nan"), float("nan"), "seeds")


def _value(interval: Interval | None) -> float:
    return 0.0 if interval is None else interval.value


def _ends(interval: Interval, seeds: int) -> str:
    if np.isnan(interval.low):
        return " (one seed)"
    return f" ({_share(interval.low)} to {_share(interval.high)} over {seeds} seeds)"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"
