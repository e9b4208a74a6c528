"""Ranks what the checks found, and measures how much of the loss each fault explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.charts import draw_loss
from seedsweep.diagnosis.finding import (
    MOVES,
    Advice,
    Diagnosis,
    Finding,
    Verdict,
    is_harmless,
    pays,
    validation_fault,
)
from seedsweep.diagnosis.headline import headline_of, not_reproduced, standing_of, unsure
from seedsweep.diagnosis.probes import standard_error
from seedsweep.diagnosis.remedy import apply, carries, completed, proved, rehearsable
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.names import and_more
from seedsweep.stats.interval import Interval
from seedsweep.training.options import ArmSettings

MOST = 4  # remedies that are tried
TOGETHER = 3  # faults whose remedies are tried in all combinations: 2**3 settings


def judge(subject: Subject, findings: list[Finding], folder: Path) -> Diagnosis:
    """Ranks the findings of all checks, causes before symptoms; what can be rehearsed has its cost measured by fixing
    it.

    Nothing is measured while validation is at fault, for it is measured on validation. Symptoms are judged where no
    cause stands: a fault of something else that costs accuracy, or may.
    """
    if at_fault := validation_fault(findings):
        ranked = _ranked([_withheld(f, at_fault) if f.symptom else replace(f, cost=None) for f in findings])
        numbers = _numbers(subject)
        headline, standing = headline_of(subject, ranked, numbers), standing_of(subject, numbers)
        return Diagnosis(headline, ranked, numbers, kind=subject.kind, standing=standing)
    findings = [_of_these_weights(subject, finding) for finding in findings]
    causes = [finding for finding in findings if not finding.symptom]
    made = _measured(subject, causes, folder)
    cause = next((f for f in made.findings if f.verdict is Verdict.FAULT and not is_harmless(f)), None)
    if cause is None:
        return made if len(causes) == len(findings) else _measured(subject, findings, folder)
    symptoms = [_withheld(finding, cause) for finding in findings if finding.symptom]
    return replace(made, findings=_ranked([*made.findings, *symptoms]))


def _withheld(symptom: Finding, cause: Finding) -> Finding:
    if symptom.verdict not in (Verdict.FAULT, Verdict.SUSPECT):
        return symptom
    text = f"Not judged while {cause.title} is at fault, which can be the cause: fix that first."
    return replace(symptom, verdict=Verdict.UNKNOWN, sentence=text, remedy=[], cost=None)


def _of_these_weights(subject: Subject, finding: Finding) -> Finding:
    """Withholds a cost that was measured on a net of other weights than the subject's; advises what was tried."""
    own, used = (config.backbone.weights for config in (subject.config, subject.frozen_config))
    line = f"backbone.weights={used}"
    if finding.cost is None or own == used or line in finding.remedy:
        return finding
    text = (
        f"{finding.sentence} That was measured with {line}; here it is {own}, so what it costs is left open."
    )
    tried = [*finding.remedy, line] if finding.remedy and used != "none" else []
    return replace(finding, cost=None, sentence=text, remedy=proved(tried, subject.config, subject.said))


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
    faults = [place for place in places if findings[place].verdict is Verdict.FAULT][:TOGETHER]
    suspects = [place for place in places if findings[place].verdict is Verdict.SUSPECT][: MOST - len(faults)]
    trials = _Trials(subject, [findings[place] for place in faults])
    numbers, reason, advice, picture = _numbers(subject), "", None, None
    open_costs = f"What fixing {and_more([findings[place].title for place in places])} gains is not measured:"
    try:
        measured = bool(places) and trials.reproduced
        if places and not measured:
            reason = f"{open_costs} {not_reproduced(trials.rehearsed, subject.val_acc or 0.0)}"
        reached = _reachable(subject, trials if measured else None)
    except SeedsweepError as error:  # too few groups of images, or no predictions
        measured, reached = False, {}
        reason = f"{open_costs} {error}" if places else ""
    numbers |= reached
    made = list(findings)
    if measured:
        interval = subject.parts.interval
        shares = shapley(len(faults), trials.correct)
        for place, share in zip(faults, shares, strict=True):
            made[place] = trials.told(made[place], interval(share))
        every = frozenset(range(len(faults)))
        for place in suspects:
            gained = trials.correct(every, made[place].remedy) - trials.correct(every)
            made[place] = trials.told(made[place], interval(gained))
        advice = trials.advice([made[place] for place in faults], [made[place] for place in suspects])
        if shares:
            picture = "verdict.png"
            drawn = {
                findings[place].title: float(share.mean())
                for place, share in zip(faults, shares, strict=True)
            }
            draw_loss(numbers, dict(sorted(drawn.items(), key=lambda item: -item[1])), folder / picture)
    ranked = _ranked(made)
    own = next((f for f in ranked if f.verdict is Verdict.FAULT and f.remedy and pays(f)), None)
    if advice is None and own is not None and own.cost is not None:  # tried by its check alone
        advice = Advice(own.remedy, own.cost)
    headline = " ".join(filter(None, [headline_of(subject, ranked, numbers, advice), reason]))
    standing = standing_of(subject, numbers)
    return Diagnosis(headline, ranked, numbers, advice, trials.listed(), subject.kind, picture, standing)


def _is_measurable(subject: Subject, finding: Finding) -> bool:
    """Says whether a head on the features of a frozen net shows what the remedy is worth."""
    if finding.verdict not in (Verdict.FAULT, Verdict.SUSPECT) or finding.cost is not None:
        return False
    if not rehearsable(finding.remedy):
        return False
    tried = apply(subject.frozen_config, finding.remedy)
    return carries(tried, subject.config, finding.remedy)


class _Trials:
    """Which unseen images the subject's head classifies correctly with some faults fixed, each set trained once."""

    def __init__(self, subject: Subject, faults: list[Finding]) -> None:
        self._subject = subject
        self.faults = faults
        self._correct: dict[frozenset[int], NDArray[np.float64]] = {}

    @property
    def reproduced(self) -> bool:
        """Whether a head rehearsed with a run's own settings reaches what the run does, within noise."""
        known = self._subject.val_acc
        if known is None or self._subject.is_rehearsed or not self._subject.is_repeated:
            return True  # nothing to compare with, or the net's own predictions are what is compared with
        error = standard_error(known, min(self._subject.n_val, len(self._subject.material.val_labels)))
        return abs(self.rehearsed - known) <= 2 * error

    @property
    def rehearsed(self) -> float:
        """The validation accuracy of a head trained again as the run's was."""
        return self._subject.rehearsed.acc

    def correct(self, fixed: frozenset[int], further: Sequence[str] = ()) -> NDArray[np.float64]:
        """Returns 1 for each unseen image, [N], that is correct with these places' faults fixed and ``further``
        overrides."""
        if further:
            return self._subject.correct(self._tried([*self._remedy(fixed), *further]))
        if fixed not in self._correct:
            tried = (
                self._subject.correct(self._tried(self._remedy(fixed)))
                if fixed
                else self._subject.own_correct
            )
            self._correct[fixed] = tried
        return self._correct[fixed]

    def told(self, finding: Finding, cost: Interval) -> Finding:
        """Returns the finding with its cost; with its remedy, and all that was tried with it, only where it pays."""
        lines = self._printed(finding.remedy)
        measured = replace(finding, cost=cost, evidence=finding.evidence | {"lines": lines})
        if pays(measured):
            return replace(measured, remedy=lines)
        return replace(measured, remedy=[], sentence=f"{finding.sentence} {unsure(cost, lines)}")

    def advice(self, faults: list[Finding], suspects: list[Finding]) -> Advice | None:
        """Returns the remedies of all faults that pay, together; where no fault was measured, the best suspect's."""
        paying = frozenset(place for place, finding in enumerate(faults) if pays(finding))
        if paying:
            gain = self._subject.parts.interval(self.correct(paying) - self.correct(frozenset()))
            return Advice(self._printed(self._remedy(paying)), gain)
        found = next((finding for finding in suspects if pays(finding)), None)
        return None if found is None or faults or found.cost is None else Advice(found.remedy, found.cost)

    def listed(self) -> list[dict[str, Any]]:
        """Returns all sets that were trained, the smallest first."""
        return [
            {"mended": [self.faults[place].check for place in sorted(fixed)], "acc": float(correct.mean())}
            for fixed, correct in sorted(
                self._correct.items(), key=lambda item: (len(item[0]), sorted(item[0]))
            )
        ]

    def _remedy(self, fixed: frozenset[int]) -> list[str]:
        return [line for place in sorted(fixed) for line in self.faults[place].remedy]

    def _tried(self, remedy: list[str]) -> ArmSettings:
        return apply(self._subject.frozen_config, remedy)

    def _printed(self, remedy: list[str]) -> list[str]:
        """Returns the overrides that make the subject's command line what was tried."""
        subject = self._subject
        return proved(completed(remedy, subject.config, self._tried(remedy)), subject.config, subject.said)


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


def _reachable(subject: Subject, trials: _Trials | None) -> dict[str, float]:
    """Returns what is within reach of the frozen net, and how far the subject is from it, on unseen images."""
    parts, tried = subject.parts, [subject.probe_correct]
    numbers = {"probe": float(subject.probe_correct.mean())}
    own = None
    if trials is not None or not (subject.is_repeated or subject.val_predictions is None):
        own = subject.own_correct
        numbers["rehearsed"] = float(own.mean())
    if trials is not None and trials.faults:
        mended = trials.correct(frozenset(range(len(trials.faults))))
        numbers["mended"] = float(mended.mean())
        tried.append(mended)
    best = parts.best_elsewhere(tried)
    reach = parts.interval(best).clipped()
    numbers |= {"reachable": reach.value, "reachable_low": reach.low, "reachable_high": reach.high}
    if own is None and subject.val_predictions is None:
        return numbers
    lost = subject.behind_probe if own is None else parts.interval(best - own)
    return numbers | {"lost": lost.value, "lost_low": lost.low, "lost_high": lost.high}


def shapley(n: int, value: Callable[[frozenset[int]], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Returns each fault's share of ``value(all fixed) - value(none fixed)``; the shares add up to it.

    A fault's share is its gain averaged over all orders of fixing (Shapley 1953): where one fault hides another,
    neither order alone would tell.

    Args:
        n: faults; 2**n values are asked for.
        value: 1 for each image that is classified correctly with a set of faults fixed, else 0, [N].
    """
    shares = []
    for fault in range(n):
        others = [other for other in range(n) if other != fault]
        share = np.zeros_like(value(frozenset()))
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for fixed in combinations(others, size):
                before = frozenset(fixed)
                share += weight * (value(before | {fault}) - value(before))
        shares.append(share)
    return shares
