"""What each change was worth: the ladder of a grid whose jobs are rungs (``conf/rung``)."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from seedsweep.stats.interval import over_seeds
from seedsweep.stats.scores import majority_share

RUNG, PUT_BACK, CELL = "rung", "put_back", "cell"  # rung.kind
SCALINGS = {"rescale_twice": "inputs scaled twice", "auto": "inputs scaled once"}
POLICIES = {"batch_stats": "batch statistics in training", "inference": "stored statistics always"}


@dataclass(frozen=True)
class Arm:
    """A rung, or an arm beside the ladder, over its seeds; accuracies are shares of the validation images, 0..1."""

    name: str  # ``experiment.name``
    kind: str  # rung | put_back | cell
    after: str  # name of the arm that it differs from in one thing
    label: str  # that thing, for a picture
    change: str  # that thing, in a few words
    scaling: str  # its ``preprocess``, by the record of its runs, or by its settings if no run finished
    policy: str  # its ``batchnorm``, likewise
    others: dict[str, Any]  # all other settings, to tell which arms differ in these two alone
    accs: dict[int, float]  # validation accuracy, by seed
    test_accs: list[float]  # test accuracies
    bn_gaps: list[float]  # of the last epoch
    images: dict[str, int]  # numbers of the validation images, by class

    @property
    def mean(self) -> float | None:
        """Mean validation accuracy over the seeds."""
        return statistics.fmean(self.accs.values()) if self.accs else None


@dataclass(frozen=True)
class Level:
    """A mean and its t interval over seeds: no ends for one seed, and no mean without a run."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Step:
    """An arm against the one that it differs from in one thing: an entry of ladder.json."""

    name: str  # of the arm
    label: str  # what was changed, for a picture
    change: str  # what was changed, in a few words
    after: str | None  # name of the arm that it is compared with; None: there is none
    on_path: bool  # whether it leads to the last rung
    n: int  # finished runs
    # of its accuracies; None: no run finished. ``low`` and ``high`` are None for one seed.
    mean: float | None
    low: float | None
    high: float | None
    delta: float | None  # the change in accuracy, paired by seed; None: nothing to compare
    delta_low: float | None
    delta_high: float | None
    test: float | None  # mean test accuracy
    bn_gap: float | None  # mean over the seeds
    seeds: dict[str, float]  # accuracy by seed
    sentence: str  # all of that in words


@dataclass(frozen=True)
class TwoByTwo:
    """Input scaling (rows) against BatchNorm policy (columns), with all other settings of the first rung.

    ``interaction`` is what fixing BatchNorm brings where inputs are scaled once, less what it brings where they are
    scaled twice.
    """

    scaling: list[str]
    batchnorm: list[str]
    cells: list[list[Level]]
    interaction: Level
    sentence: str


@dataclass(frozen=True)
class Ladder:
    """All arms in the order of their jobs."""

    arms: list[Arm]

    @property
    def rungs(self) -> list[Arm]:
        """The ladder and what stands beside it, from the first rung to the last."""
        return [arm for arm in self.arms if arm.kind == RUNG]

    @property
    def path(self) -> set[str]:
        """Names of the rungs that lead to the last one; the others were tried, and nothing goes on from them."""
        by_name = {arm.name: arm for arm in self.rungs}
        names: set[str] = set()
        at = self.rungs[-1] if self.rungs else None
        while at is not None and at.name not in names:
            names.add(at.name)
            at = by_name.get(at.after) or self._last_before(at, names)
        return names

    def before(self, arm: Arm) -> Arm | None:
        """Returns the arm that ``arm`` is compared with; where that is not in the grid, the last rung before it."""
        found = next((other for other in self.arms if other.name == arm.after), None)
        return found or (self._last_before(arm) if arm.kind == RUNG else None)

    def _last_before(self, arm: Arm, but: Collection[str] = ()) -> Arm | None:
        earlier = [rung for rung in self.rungs[: self.rungs.index(arm)] if rung.name not in but]
        wanted = {other.after for other in self.rungs}
        taken = {rung.after for rung in earlier if rung.name in wanted}  # a sibling was gone on from
        leads_on = [rung for rung in earlier if rung.name in wanted or rung.after not in taken]
        return (leads_on or earlier)[-1] if earlier else None

    @property
    def images(self) -> dict[str, int]:
        """Numbers of the validation images, by class; empty where no run finished."""
        return next((arm.images for arm in self.arms if arm.images), {})

    @property
    def majority(self) -> float | None:
        """Share of the largest class among the validation images."""
        return majority_share(self.images) if self.images else None

    def steps(self, kind: str = RUNG) -> list[Step]:
        """Returns the rungs, each against the one before it; or the faults put back alone, the costliest first."""
        found = [self._step(arm) for arm in self.arms if arm.kind == kind]
        if kind == RUNG:
            return found
        order = [None, *(arm.name for arm in self.arms)]
        return sorted(found, key=lambda step: (order.index(step.after), step.delta or 0.0))

    def _step(self, arm: Arm) -> Step:
        before = self.before(arm)
        level = _level(list(arm.accs.values()), accuracy=True)
        both = sorted(set(arm.accs) & set(before.accs)) if before else []
        delta = _level([arm.accs[seed] - before.accs[seed] for seed in both] if before else [])
        return Step(
            name=arm.name,
            label=arm.label,
            change=arm.change,
            after=before.name if before else None,
            on_path=arm.name in self.path,
            n=len(arm.accs),
            **asdict(level),
            delta=delta.mean,
            delta_low=delta.low,
            delta_high=delta.high,
            test=statistics.fmean(arm.test_accs) if arm.test_accs else None,
            bn_gap=statistics.fmean(arm.bn_gaps) if arm.bn_gaps else None,
            seeds={str(seed): acc for seed, acc in sorted(arm.accs.items())},
            sentence=self._sentence(arm, level, before, delta),
        )

    def _sentence(self, arm: Arm, level: Level, before: Arm | None, delta: Level) -> str:
        name = f"{arm.label[:1].upper()}{arm.label[1:]}"
        if level.mean is None:
            return f"{name}: no run finished."
        if delta.mean is None or before is None or before.mean is None:
            text = f"{name} ({arm.change}): {_share(level.mean)}"
            if level.low is None or level.high is None:
                text += " (one seed)"
            else:
                text += f" ({_share(level.low)} to {_share(level.high)} over {len(arm.accs)} seeds)"
            if arm is self.rungs[0] and self.majority is not None:
                text += f"; always the largest class gives {_share(self.majority)}"
            return f"{text}."
        if delta.low is None or delta.high is None:
            over = " (one seed, so no interval)"
        else:
            seeds = len(set(arm.accs) & set(before.accs))
            over = f" ({100 * delta.low:+.1f} to {100 * delta.high:+.1f} over {seeds} seeds)"
            over += ", within noise" if delta.low <= 0 <= delta.high else ""
        shares = f"{_share(level.mean)} against {_share(before.mean)} ({before.label})"
        return f"{name}: {_points(delta.mean)}{over}, {shares}."

    def two_by_two(self) -> TwoByTwo | None:
        """Returns the table around the first rung; None if fewer than three of its cells have a result."""
        alike = [arm for arm in self.arms if arm.others == self.rungs[0].others]
        accs = {(arm.scaling, arm.policy): arm.accs for arm in reversed(alike)}
        rows = [[accs.get((scaling, policy), {}) for policy in POLICIES] for scaling in SCALINGS]
        cells = [cell for row in rows for cell in row]
        if sum(map(bool, cells)) < 3:
            return None
        interaction = Level()
        sentence = "A cell is missing, so nothing can be said about how the two faults go together."
        if seeds := sorted(set.intersection(*map(set, cells))):
            twice, once = ([row[1][seed] - row[0][seed] for seed in seeds] for row in rows)
            interaction = _level([right - wrong for right, wrong in zip(once, twice, strict=True)])
            sentence = (
                f"BatchNorm in inference mode brings {_points(statistics.fmean(once))} where inputs are scaled once, "
                f"and {_points(statistics.fmean(twice))} where they are scaled twice: {_together(interaction)}."
            )
        levels = [[_level(list(cell.values()), accuracy=True) for cell in row] for row in rows]
        return TwoByTwo(list(SCALINGS.values()), list(POLICIES.values()), levels, interaction, sentence)


def _level(values: list[float], *, accuracy: bool = False) -> Level:
    """Returns mean and t interval of values, one a seed; those of an accuracy are cut at 0 and 1."""
    if not values:
        return Level()
    found = over_seeds(values)
    if found is None:
        return Level(values[0])
    found = found.clipped() if accuracy else found
    return Level(found.value, found.low, found.high)


def _together(interaction: Level) -> str:
    if interaction.low is None or interaction.high is None:
        return "one seed, so it is not known whether one fault hides the other"
    if interaction.low > 0:
        return "inputs scaled twice hide what BatchNorm costs"
    if interaction.high < 0:
        return "fixing one removes part of what the other costs"
    return "within noise the two add up"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"
