"""Ranks what the checks found, and measures how much of the loss each fault explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np

from seedsweep.diagnosis.charts import draw_loss
from seedsweep.diagnosis.finding import MOVES, Diagnosis, Finding, Verdict, is_harmless, validation_fault
from seedsweep.diagnosis.headline import headline_of, not_measured
from seedsweep.diagnosis.probes import standard_error
from seedsweep.diagnosis.remedy import apply, changes, rehearsable
from seedsweep.diagnosis.subject import Subject

MOST = 4  # faults that are apportioned: 2**4 heads


def judge(subject: Subject, findings: list[Finding], folder: Path) -> Diagnosis:
    """Ranks the findings; the cost of those that can be rehearsed is measured by fixing them.

    Nothing is measured while validation is at fault, for it is measured on validation. Symptoms are judged where no
    cause stands: a fault of something else that costs accuracy, or may.

    Args:
        subject: what was examined.
        findings: of all checks, causes before symptoms.
        folder: for the picture.
    """
    if at_fault := validation_fault(findings):
        ranked = _ranked([_withheld(f, at_fault) if f.symptom else replace(f, cost=None) for f in findings])
        numbers = _numbers(subject)
        return Diagnosis(headline_of(subject, ranked, numbers), ranked, numbers, kind=subject.kind)
    causes = [finding for finding in findings if not finding.symptom]
    made = _measured(subject, causes, folder)
    standing = next((f for f in made.findings if f.verdict is Verdict.FAULT and not is_harmless(f)), None)
    if standing is None:
        return made if len(causes) == len(findings) else _measured(subject, findings, folder)
    symptoms = [_withheld(finding, standing) for finding in findings if finding.symptom]
    return replace(made, findings=_ranked([*made.findings, *symptoms]))


def _withheld(symptom: Finding, cause: Finding) -> Finding:
    if symptom.verdict not in (Verdict.FAULT, Verdict.SUSPECT):
        return symptom
    text = f"Not judged while {cause.title} is at fault, which can be the cause: fix that first."
    return replace(symptom, verdict=Verdict.UNKNOWN, sentence=text, remedy=[], cost=None)


def _ranked(findings: list[Finding]) -> list[Finding]:
    """Returns the findings, the worst first, of equal ones those that cost something, causes and the earlier ones."""
    made = sorted(findings, key=lambda f: (f.verdict.rank, is_harmless(f), f.symptom))
    for verdict in (Verdict.FAULT, Verdict.SUSPECT):  # of leaks, what moves the accuracy further is first
        places = [place for place, f in enumerate(made) if f.verdict is verdict and MOVES in f.evidence]
        furthest = sorted((made[place] for place in places), key=lambda f: -float(str(f.evidence[MOVES])))
        for place, finding in zip(places, furthest, strict=True):
            made[place] = finding
    return made


def _measured(subject: Subject, findings: list[Finding], folder: Path) -> Diagnosis:
    places = [place for place, finding in enumerate(findings) if _is_measurable(subject, finding)]
    faults = [place for place in places if findings[place].verdict is Verdict.FAULT][:MOST]
    suspects = [place for place in places if findings[place].verdict is Verdict.SUSPECT]
    trials = _Trials(subject, [findings[place] for place in faults])
    measured = bool(places) and trials.reproduced
    shares = shapley(len(faults), trials.acc) if faults and measured else []
    numbers = _numbers(subject) | _reachable(subject, trials)
    lost = numbers.get("lost")
    costs = {place: within([f.cost], lost)[0] for place, f in enumerate(findings) if f.cost is not None}
    costs |= dict(zip(faults, within(shares, lost), strict=False))  # no shares: nothing was measured
    if measured:
        left = None if lost is None else lost - sum(max(costs[place], 0.0) for place in faults)
        costs |= {place: within([trials.further(findings[place])], left)[0] for place in suspects}
    ranked = _ranked([replace(finding, cost=costs.get(place)) for place, finding in enumerate(findings)])
    picture = None
    if shares:
        titles = [findings[place].title for place in faults]
        drawn = sorted(zip(titles, shares, strict=True), key=lambda item: -item[1])
        picture = "verdict.png"
        draw_loss(numbers, dict(drawn), folder / picture)
    headline = headline_of(subject, ranked, numbers)
    if places and not measured:
        headline += f" {not_measured(trials.rehearsed, subject.val_acc or 0.0)}"
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
        self.faults = faults
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
    def rehearsed(self) -> float:
        """The accuracy of a head trained again with the subject's own settings, where these tell its faults."""
        return self.acc(frozenset()) if self._silent else self._rehearse([])

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
        every = self._remedy(frozenset(range(len(self.faults))))
        return self._rehearse([*every, *suspect.remedy]) - self._rehearse(every)

    def listed(self) -> list[dict[str, Any]]:
        """Returns all sets that were trained, the smallest first."""
        return [
            {"mended": [self.faults[place].check for place in sorted(fixed)], "val_acc": acc}
            for fixed, acc in sorted(self._accs.items(), key=lambda item: (len(item[0]), sorted(item[0])))
        ]

    def _remedy(self, fixed: frozenset[int]) -> list[str]:
        return [line for place in sorted(fixed) for line in self.faults[place].remedy]

    def _rehearse(self, remedy: list[str]) -> float:
        return self._subject.rehearse(apply(self._subject.frozen_config, remedy)).acc


def _numbers(subject: Subject) -> dict[str, float]:
    val, acc = subject.labels("val"), subject.val_acc
    numbers = {
        "majority": float(np.bincount(val).max() / len(val)),
        "chance": 1 / len(subject.prepared.table.classes),
    }
    return (
        numbers
        if acc is None
        else numbers | {"val_acc": acc, "standard_error": standard_error(acc, subject.n_val)}
    )


def _reachable(subject: Subject, trials: _Trials) -> dict[str, float]:
    acc = subject.val_acc
    numbers = {"probe": subject.probe.acc}
    if trials.faults:
        numbers["rehearsed"] = trials.rehearsed
    if listed := trials.listed():
        numbers["mended"] = listed[-1]["val_acc"]
    numbers["reachable"] = max(numbers["probe"], numbers.get("mended", 0.0), acc or 0.0)
    return numbers if acc is None else numbers | {"lost": numbers["reachable"] - acc}


def shapley(n: int, value: Callable[[frozenset[int]], float]) -> list[float]:
    """Returns each fault's share of ``value(all fixed) - value(none fixed)``; the shares add up to it.

    A fault's share is its gain averaged over all orders of fixing (Shapley 1953): where one fault hides another,
    neither order alone would tell.

    Args:
        n: faults; 2**n values are asked for.
        value: accuracy with a set of faults fixed.
    """
    shares = [0.0] * n
    for fault in range(n):
        others = [other for other in range(n) if other != fault]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for fixed in combinations(others, size):
                before = frozenset(fixed)
                shares[fault] += weight * (value(before | {fault}) - value(before))
    return shares


def within(shares: list[float], lost: float | None) -> list[float]:
    """Returns ``shares`` whose positive ones together are at most ``lost``, each reduced alike where they exceed it.

    Args:
        shares: of faults, 0..1; some may be negative.
        lost: accuracy, 0..1; None: not known, all stay.
    """
    positive = sum(share for share in shares if share > 0)
    if lost is None or positive <= max(lost, 0.0):
        return list(shares)
    return [share * max(lost, 0.0) / positive if share > 0 else share for share in shares]
