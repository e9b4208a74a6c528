"""Finds the ladder among the jobs of a grid."""

from __future__ import annotations

import logging
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedsweep.runs.earlier import policy_of, saved_settings, scaling_of
from seedsweep.runs.held_out import HeldOut
from seedsweep.runs.run_result import RunResult
from seedsweep.stats.scores import majority_share

log = logging.getLogger(__name__)

RUNG, PUT_BACK, CELL = "rung", "put_back", "cell"  # rung.kind
TOLD_ELSEWHERE = ("experiment", "rung", "seed", "paths", "preprocess", "batchnorm", "checkpoint", "resume")


@dataclass
class Arm:
    """A rung, or an arm beside the ladder, over its seeds; accuracies are shares of the validation images, 0..1.

    Attributes:
        name: ``experiment.name``.
        kind: rung | put_back | cell.
        after: name of the arm that it differs from in one thing.
        label: that thing, for a picture.
        change: that thing, in a few words.
        scaling: what its ``preprocess`` is called by the switches of its record, or of its settings if no run finished.
        policy: what its ``batchnorm`` is called, likewise.
        others: all other settings, to tell which arms differ in these two alone.
        accs: validation accuracy, by seed.
        test_accs: test accuracy, by seed.
        bn_gaps: of the last epoch.
        majority: share of the largest class.
        classes: number of them.
    """

    name: str
    kind: str
    after: str
    label: str
    change: str
    scaling: str
    policy: str
    others: dict[str, Any]
    accs: dict[int, float] = field(default_factory=dict)
    test_accs: dict[int, float] = field(default_factory=dict)
    bn_gaps: list[float] = field(default_factory=list)
    majority: float | None = None
    classes: int | None = None

    @property
    def mean(self) -> float | None:
        """Mean validation accuracy over the seeds."""
        return statistics.fmean(self.accs.values()) if self.accs else None


@dataclass
class Ladder:
    """All arms in the order of their jobs."""

    arms: list[Arm]

    def of(self, kind: str) -> list[Arm]:
        """Returns the arms of a kind."""
        return [arm for arm in self.arms if arm.kind == kind]

    @property
    def rungs(self) -> list[Arm]:
        """The ladder and what stands beside it, from the first rung to the last."""
        return self.of(RUNG)

    @property
    def path(self) -> set[str]:
        """Names of the rungs that lead to the last one; the others were tried, and nothing goes on from them."""
        by_name = {arm.name: arm for arm in self.rungs}
        names: set[str] = set()
        at: Arm | None = self.rungs[-1] if self.rungs else None
        while at is not None and at.name not in names:
            names.add(at.name)
            at = by_name.get(at.after) or self._last_before(at, names)
        return names

    def before(self, arm: Arm) -> Arm | None:
        """Returns the arm that ``arm`` is compared with; where that is not in the grid, the last rung before it."""
        found = next((other for other in self.arms if other.name == arm.after), None)
        return found or (self._last_before(arm, set()) if arm.kind == RUNG else None)

    def _last_before(self, arm: Arm, but: set[str]) -> Arm | None:
        earlier = [rung for rung in self.rungs[: self.rungs.index(arm)] if rung.name not in but]
        asked = {other.after for other in self.rungs}
        taken = {rung.after for rung in earlier if rung.name in asked}  # a sibling was gone on from
        leads_on = [rung for rung in earlier if rung.name in asked or rung.after not in taken]
        return (leads_on or earlier)[-1] if earlier else None

    @property
    def majority(self) -> float | None:
        """Share of the largest class among the validation images."""
        return next((arm.majority for arm in self.arms if arm.majority is not None), None)

    @property
    def chance(self) -> float | None:
        """What blind guessing gives."""
        classes = next((arm.classes for arm in self.arms if arm.classes), None)
        return 1 / classes if classes else None

    def alike_but(self, arm: Arm) -> list[Arm]:
        """Returns the arms that differ from ``arm`` in input scaling and BatchNorm policy at most."""
        return [other for other in self.arms if other.others == arm.others]


def read_ladder(folder: Path, results: list[RunResult]) -> Ladder | None:
    """Reads the arms of a grid's folder; None if they are no rungs, or of more than one net, setting or data set."""
    arms: dict[str, Arm] = {}
    asked: dict[
        str, tuple[dict[str, Any], str, str]
    ] = {}  # what the settings of an arm come to, also if it failed
    data: set[HeldOut | None] = set()
    for result in results:
        config = saved_settings(result.folder)
        if not (rung := config.get("rung") or {}).get("kind"):
            continue
        found = _arm(result.experiment, rung, config)
        settings = found.others, found.scaling, found.policy
        arm = arms.setdefault(result.experiment, found)
        if (first := asked.setdefault(result.experiment, settings)) != settings:
            log.warning(
                "no ladder is drawn: the rung %s was run with more than one setting of something else (%s); give that "
                "one value, and climb again for the other.", result.experiment, _what_differs(first, settings),
            )  # fmt: skip
            return None
        if not result.is_finished:
            continue
        metrics = result.metrics
        data.add(result.held_out)
        arm.scaling, arm.policy = metrics["preprocess"], metrics["batchnorm"]  # what the run really did
        arm.accs[result.seed] = metrics["val"]["acc"]
        if metrics["test"]:
            arm.test_accs[result.seed] = metrics["test"]["acc"]
        arm.bn_gaps.append(metrics["train_images"].get("bn_gap_last", metrics["train_images"]["bn_gap"]))
        arm.majority = majority_share(metrics["images"]["val"])
        arm.classes = len(metrics["images"]["val"])
    if len(data) > 1:
        log.warning(
            "no ladder is drawn: its rungs were judged by different images, so that no step between them is a change "
            "of settings alone; climb again on one data set.",
        )  # fmt: skip
        return None
    return Ladder(list(arms.values())) if any(arm.kind == RUNG for arm in arms.values()) else None


def _arm(name: str, rung: dict[str, Any], config: dict[str, Any]) -> Arm:
    others = {key: value for key, value in config.items() if key not in TOLD_ELSEWHERE}
    return Arm(
        name,
        rung["kind"],
        rung.get("after", ""),
        rung.get("label") or name,
        rung.get("change") or name,
        scaling_of(config),
        policy_of(config),
        others,
    )


def _what_differs(one: tuple[dict[str, Any], str, str], other: tuple[dict[str, Any], str, str]) -> str:
    a, b = (
        {"preprocess": scaling, "batchnorm": policy, **others} for others, scaling, policy in (one, other)
    )
    return ", ".join(key for key in a | b if a.get(key) != b.get(key))
