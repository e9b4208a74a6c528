"""The verdict: ranks what the checks found, and measures how much of the loss each fault explains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seedsweep.diagnosis.apportion import shapley
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.rehearse import standard_error
from seedsweep.diagnosis.remedy import apply, changes, rehearsable
from seedsweep.diagnosis.subject import Subject
from seedsweep.diagnosis.waterfall import draw_loss

MOST = 4  # faults that are apportioned: 2**4 heads
SMALL = 0.03  # of accuracy: no loss worth a search


@dataclass
class Diagnosis:
    """What is wrong, the worst first.

    Attributes:
        headline: one or two sentences.
        findings: ranked.
        numbers: accuracies 0..1: val_acc, reachable, probe, majority, chance, rehearsed, mended, lost.
        combinations: accuracy with some remedies applied, each a list of checks and a number.
        kind: run | checkpoint | plan.
        picture: of the loss and its shares, in the diagnosis folder; None: none.
    """

    headline: str
    findings: list[Finding]
    numbers: dict[str, float]
    combinations: list[dict[str, Any]] = field(default_factory=list)
    kind: str = "run"
    picture: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether no check found a fault."""
        return all(finding.verdict is not Verdict.FAULT for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Returns what diagnosis.json holds."""
        return {
            "headline": self.headline,
            "healthy": self.healthy,
            "kind": self.kind,
            "numbers": self.numbers,
            "findings": [finding.as_dict() for finding in self.findings],
            "combinations": self.combinations,
            "picture": self.picture,
        }


def judge(subject: Subject, findings: list[Finding], folder: Path) -> Diagnosis:
    """Ranks the findings; the cost of those that can be rehearsed is measured by mending them.

    Args:
        subject: what was examined.
        findings: of all checks.
        folder: for the picture.
    """
    accused = [finding for finding in findings if _is_measurable(subject, finding)]
    accused = sorted(accused, key=lambda finding: finding.verdict.rank)[:MOST]
    costs, combinations = _measure(subject, accused)
    for finding, cost in zip(accused, costs, strict=True):
        findings[findings.index(finding)] = replace(finding, cost=cost)
    ranked = sorted(findings, key=lambda f: (f.verdict.rank, -(f.cost if f.cost is not None else -1.0)))
    numbers = _numbers(subject, combinations, len(accused))
    picture = None
    rehearsed = {finding.check for finding in accused}
    shares = {f.title: f.cost for f in ranked if f.check in rehearsed and f.cost is not None}
    if shares:
        draw_loss(numbers, shares, folder / "verdict.png")
        picture = "verdict.png"
    headline = _headline(subject, ranked, numbers)
    return Diagnosis(headline, ranked, numbers, combinations, subject.kind, picture)


def _is_measurable(subject: Subject, finding: Finding) -> bool:
    """Says whether the remedy's worth can be measured on features of a frozen net."""
    return (
        finding.verdict in (Verdict.FAULT, Verdict.SUSPECT)
        and subject.is_frozen
        and finding.cost is None
        and rehearsable(finding.remedy)
    )


def _measure(subject: Subject, accused: list[Finding]) -> tuple[list[float], list[dict[str, Any]]]:
    """Returns each finding's share, and the accuracy of every combination of remedies."""
    combinations: dict[frozenset[int], float] = {}
    base = subject.frozen_config
    silent = any(
        not changes(base, finding.remedy) for finding in accused
    )  # set rightly, yet trained otherwise

    def value(mended: frozenset[int]) -> float:
        if mended not in combinations:
            remedy = [line for place in sorted(mended) for line in accused[place].remedy]
            if silent and not mended:
                combinations[mended] = subject.val_acc
            else:
                combinations[mended] = subject.rehearse(apply(base, remedy)).acc
        return combinations[mended]

    if not accused:
        return [], []
    shares = shapley(len(accused), value)
    listed = [
        {"mended": [accused[place].check for place in sorted(mended)], "val_acc": acc}
        for mended, acc in sorted(combinations.items(), key=lambda item: (len(item[0]), sorted(item[0])))
    ]
    return shares, listed


def _numbers(subject: Subject, combinations: list[dict[str, Any]], accused: int) -> dict[str, float]:
    train, val = subject.labels("train"), subject.labels("val")
    mended = [entry["val_acc"] for entry in combinations if len(entry["mended"]) == accused]
    rehearsed = [entry["val_acc"] for entry in combinations if not entry["mended"]]
    numbers = {
        "val_acc": subject.val_acc,
        "standard_error": standard_error(subject.val_acc, subject.n_val),
        "probe": subject.probe.acc,
        "majority": float((val == np.bincount(train).argmax()).mean()),
        "chance": 1 / len(subject.prepared.table.classes),
    }
    if mended and rehearsed:
        numbers |= {"rehearsed": rehearsed[0], "mended": mended[0]}
    numbers["reachable"] = max(numbers["probe"], numbers.get("mended", 0.0), subject.val_acc)
    numbers["lost"] = numbers["reachable"] - subject.val_acc
    return numbers


def _headline(subject: Subject, ranked: list[Finding], numbers: dict[str, float]) -> str:
    acc, reachable, lost = numbers["val_acc"], numbers["reachable"], numbers["lost"]
    faults = [finding for finding in ranked if finding.verdict is Verdict.FAULT]
    would = "would reach" if subject.kind == "plan" else "reaches"
    stand = (
        f"It {would} {acc:.0%} of the validation images; {reachable:.0%} are within reach, always answering the "
        f"largest class gets {numbers['majority']:.0%}."
    )
    if not faults:
        return f"{_without_fault(ranked, lost, numbers['standard_error'])} {stand}"
    measured = [finding for finding in faults if finding.cost is not None]
    unmeasured = [finding for finding in faults if finding.cost is None]
    if not measured:
        return f"{faults[0].title}: {faults[0].sentence} {_do(faults[0])}{stand}"
    total = max(lost, sum(finding.cost or 0 for finding in measured))
    worst = measured[0]
    if len(measured) == 1:
        share = f"{_count(worst.cost)} of {_points(total)}"
        most = "Most of the loss" if (worst.cost or 0) > total / 2 else "Part of the loss"
        told = f"{most} ({share}) comes from {worst.title}: do this: `{' '.join(worst.remedy)}`."
    else:
        parts = [f"{f.title} {_count(f.cost)} (`{' '.join(f.remedy)}`)" for f in measured]
        told = f"The loss of {_points(total)} has {len(measured)} causes: {', '.join(parts)}. Mend them together."
    also = f" Also: {', '.join(finding.title for finding in unmeasured)}." if unmeasured else ""
    return f"{told}{also} {stand}"


def _without_fault(ranked: list[Finding], lost: float, error: float) -> str:
    suspects = [finding.title for finding in ranked if finding.verdict is Verdict.SUSPECT]
    named = ", ".join(suspects)
    if lost > max(SMALL, 2 * error):
        return f"No check found a fault, yet {_points(lost)} are missing." + (
            f" Look at: {named}." if named else ""
        )
    if suspects:
        return f"No check found a fault that costs accuracy here. Worth a look: {named}."
    return "Healthy: no check found a fault."


def _do(finding: Finding) -> str:
    return f"Do this: `{' '.join(finding.remedy)}`. " if finding.remedy else ""


def _count(cost: float | None) -> str:
    return str(round((cost or 0.0) * 100))


def _points(cost: float) -> str:
    points = _count(cost)
    return f"{points} point{'' if points == '1' else 's'}"
