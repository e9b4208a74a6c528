"""The verdict: ranks what the checks found, and measures how much of the loss each fault explains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seedsweep.diagnosis.apportion import shapley, within
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.rehearse import standard_error
from seedsweep.diagnosis.remedy import apply, changes, rehearsable
from seedsweep.diagnosis.subject import Subject
from seedsweep.diagnosis.waterfall import draw_loss

MOST = 4  # faults that are apportioned: 2**4 heads
SMALL = 0.03  # of accuracy: no loss worth a search
COUNTS = 0.01  # of accuracy: a fault whose removal gains less is no cause of a loss


@dataclass
class Diagnosis:
    """What is wrong, the worst first.

    Attributes:
        headline: one or two sentences.
        findings: ranked.
        numbers: accuracies 0..1: val_acc, reachable, probe, majority, chance, rehearsed, mended, lost; those that
            were not measured are left out.
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
    """Ranks the findings; the cost of those that can be rehearsed is measured by fixing them.

    Args:
        subject: what was examined.
        findings: of all checks.
        folder: for the picture.
    """
    measurable = [finding for finding in findings if _is_measurable(subject, finding)]
    faults = [finding for finding in measurable if finding.verdict is Verdict.FAULT][:MOST]
    suspects = [finding for finding in measurable if finding.verdict is Verdict.SUSPECT]
    trials = _Trials(subject, faults)
    measured = bool(measurable) and trials.reproduced
    shares = shapley(len(faults), trials.acc) if faults and measured else []
    numbers = _numbers(subject, trials)
    lost = numbers.get("lost")
    costs = within(shares, lost)
    if measured:
        left = None if lost is None else lost - sum(max(cost, 0.0) for cost in costs)
        costs += [within([trials.further(suspect)], left)[0] for suspect in suspects]
    for place, finding in enumerate(findings):
        if finding.cost is not None:  # of a check that measured it itself
            findings[place] = replace(finding, cost=within([finding.cost], lost)[0])
    for finding, cost in zip([*faults, *suspects] if measured else [], costs, strict=True):
        findings[findings.index(finding)] = replace(finding, cost=cost)
    ranked = sorted(findings, key=lambda f: (f.verdict.rank, -(f.cost if f.cost is not None else -1.0)))
    picture = None
    if shares:
        drawn = dict(sorted(zip([f.title for f in faults], shares, strict=True), key=lambda item: -item[1]))
        draw_loss(numbers, drawn, folder / "verdict.png")
        picture = "verdict.png"
    headline = _headline(subject, ranked, numbers)
    if measurable and not measured:
        headline += f" {trials.not_measured()}"
    return Diagnosis(headline, ranked, numbers, trials.listed(), subject.kind, picture)


def _is_measurable(subject: Subject, finding: Finding) -> bool:
    """Says whether the remedy's worth can be measured on features of a frozen net."""
    return (
        finding.verdict in (Verdict.FAULT, Verdict.SUSPECT)
        and subject.is_frozen
        and finding.cost is None
        and rehearsable(finding.remedy)
    )


class _Trials:
    """The accuracy of the subject's head with some faults fixed, each set trained once."""

    def __init__(self, subject: Subject, faults: list[Finding]) -> None:
        self._subject = subject
        self._faults = faults
        self._accs: dict[frozenset[int], float] = {}
        base = subject.frozen_config
        # set correctly, yet trained otherwise (a checkpoint from elsewhere): there is nothing to rehearse it by
        self._silent = any(not changes(base, fault.remedy) for fault in faults)

    @property
    def reproduced(self) -> bool:
        """Whether a head rehearsed with the subject's own settings reaches what the subject does, within noise."""
        known = self._subject.val_acc
        if known is None or self._silent or self._subject.is_rehearsed:  # nothing to compare with
            return True
        error = standard_error(known, min(self._subject.n_val, len(self._subject.material.val_labels)))
        return abs(self.rehearsed - known) <= 2 * error

    @property
    def any(self) -> bool:
        """Whether there is a fault whose remedy can be rehearsed."""
        return bool(self._faults)

    @property
    def rehearsed(self) -> float:
        """The accuracy of a head trained again with the subject's own settings, where these tell its faults."""
        return self.acc(frozenset()) if self._silent else self._rehearse([])

    def not_measured(self) -> str:
        """Returns why no costs are given, where the rehearsal does not reproduce the subject."""
        return (
            "What each fault costs is not measured: a head trained again on stored features with the same settings "
            f"reaches {self.rehearsed:.0%}, not {self._subject.val_acc or 0.0:.0%}; so few images do not explain "
            "that difference, so such a head is no measure of this one."
        )

    def acc(self, fixed: frozenset[int]) -> float:
        """Returns the validation accuracy with the faults of these places fixed."""
        if fixed not in self._accs:
            known = self._subject.val_acc
            if not fixed and known is not None:  # else the costs could exceed the loss
                self._accs[fixed] = known
            else:
                self._accs[fixed] = self._rehearse(self._remedy(fixed))
        return self._accs[fixed]

    def further(self, suspect: Finding) -> float:
        """Returns what fixing a suspect gains where all faults are fixed already."""
        every = self._remedy(frozenset(range(len(self._faults))))
        return self._rehearse([*every, *suspect.remedy]) - self._rehearse(every)

    def listed(self) -> list[dict[str, Any]]:
        """Returns all sets that were trained, the smallest first."""
        return [
            {"mended": [self._faults[place].check for place in sorted(fixed)], "val_acc": acc}
            for fixed, acc in sorted(self._accs.items(), key=lambda item: (len(item[0]), sorted(item[0])))
        ]

    def _remedy(self, fixed: frozenset[int]) -> list[str]:
        return [line for place in sorted(fixed) for line in self._faults[place].remedy]

    def _rehearse(self, remedy: list[str]) -> float:
        return self._subject.rehearse(apply(self._subject.frozen_config, remedy)).acc


def _numbers(subject: Subject, trials: _Trials) -> dict[str, float]:
    val = subject.labels("val")
    combinations, acc = trials.listed(), subject.val_acc
    numbers = {
        "probe": subject.probe.acc,
        "majority": float(np.bincount(val).max() / len(val)),
        "chance": 1 / len(subject.prepared.table.classes),
    }
    if trials.any:
        numbers["rehearsed"] = trials.rehearsed
    if combinations:
        numbers["mended"] = combinations[-1]["val_acc"]
    numbers["reachable"] = max(numbers["probe"], numbers.get("mended", 0.0), acc or 0.0)
    if acc is not None:
        error = standard_error(acc, subject.n_val)
        numbers |= {"val_acc": acc, "standard_error": error, "lost": numbers["reachable"] - acc}
    return numbers


def _headline(subject: Subject, ranked: list[Finding], numbers: dict[str, float]) -> str:
    faults = [finding for finding in ranked if finding.verdict is Verdict.FAULT]
    stand = _stand(subject, numbers)
    if not faults:
        return f"{_without_fault(ranked, numbers)} {stand}"
    causes = [finding for finding in faults if (finding.cost or 0.0) >= COUNTS]
    harmless = [finding for finding in faults if finding.cost is not None and finding.cost < COUNTS]
    unmeasured = [finding for finding in faults if finding.cost is None]
    if causes:
        told = _causes(causes, max(numbers.get("lost", 0.0), sum(finding.cost or 0 for finding in causes)))
    elif unmeasured:
        first = unmeasured.pop(0)
        told = f"{first.title}: {first.sentence}{_do(first)}"
    else:
        told = ""
    if unmeasured:
        told += f" Also: {', '.join(finding.title for finding in unmeasured)}."
    for finding in harmless:
        told += f" {finding.title} is set wrongly, but costs nothing measurable here.{_do(finding)}"
    return f"{told.strip()} {stand}"


def _stand(subject: Subject, numbers: dict[str, float]) -> str:
    largest = f"always predicting the largest class gets {numbers['majority']:.0%}."
    if "val_acc" not in numbers:
        net = "random" if subject.frozen_config.backbone.weights == "none" else "pretrained"
        return (
            f"Its accuracy is not measured: this plan trains the net; a linear head on the frozen {net} net reaches "
            f"{numbers['probe']:.0%} accuracy on the validation images, {largest}"
        )
    would = "would classify" if subject.kind == "plan" else "classifies"
    return (
        f"The net {would} {numbers['val_acc']:.0%} of the validation images correctly; {numbers['reachable']:.0%} are "
        f"within reach, {largest}"
    )


def _causes(causes: list[Finding], total: float) -> str:
    worst = causes[0]
    if len(causes) == 1:
        share = f"{_count(worst.cost)} of {_points(total)}"
        most = "Most of the loss" if (worst.cost or 0) > total / 2 else "Part of the loss"
        return f"{most} ({share}) comes from {worst.title}. Do this: `{' '.join(worst.remedy)}`."
    parts = [f"{f.title} {_count(f.cost)} (`{' '.join(f.remedy)}`)" for f in causes]
    return f"The loss of {_points(total)} has {len(causes)} causes: {', '.join(parts)}. Fix them together."


def _without_fault(ranked: list[Finding], numbers: dict[str, float]) -> str:
    suspects = [finding.title for finding in ranked if finding.verdict is Verdict.SUSPECT]
    named = ", ".join(suspects)
    if "lost" not in numbers:
        return "No check found a fault in what can be measured before the training." + (
            f" Worth a look: {named}." if named else ""
        )
    if numbers["lost"] > max(SMALL, 2 * numbers["standard_error"]):
        return f"No check found a fault, yet {_points(numbers['lost'])} are missing." + (
            f" Look at: {named}." if named else ""
        )
    if suspects:
        return f"No check found a fault that costs accuracy here. Worth a look: {named}."
    return "Healthy: no check found a fault."


def _do(finding: Finding) -> str:
    return f" Do this: `{' '.join(finding.remedy)}`." if finding.remedy else ""


def _count(cost: float | None) -> str:
    return str(round((cost or 0.0) * 100))


def _points(cost: float) -> str:
    points = _count(cost)
    return f"{points} point{'' if points == '1' else 's'}"
