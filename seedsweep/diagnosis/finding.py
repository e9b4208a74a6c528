"""A check, what it found, and the diagnosis that all findings make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from seedsweep.stats.interval import Interval

MOVES = "moves_accuracy"  # evidence: by how much (0..1) a leak between the splits can move the accuracy
Evidence = dict[str, float | int | str | list[Any]]


class Verdict(StrEnum):
    """How sure a check is. The members stand in the order of a report: the worst first."""

    FAULT = "fault"
    SUSPECT = "suspect"
    UNKNOWN = "unknown"
    FINE = "fine"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
        check: the check's name.
        title: a few words, for a table.
        verdict: what it comes to.
        measured: what the check measures, one sentence.
        sentence: what was found, in plain words.
        evidence: numbers behind the sentence; shares and accuracies are 0..1. Lists are capped by their check.
        remedy: overrides that fix it, such as ``batchnorm=inference``; may be empty.
        cost: accuracy (0..1) that fixing it gains on unseen images, with its interval; None: not measured.
        picture: a file in the diagnosis folder, relative to it; None: none.
        symptom: whether another fault can be its cause.
    """

    check: str
    title: str
    verdict: Verdict
    measured: str
    sentence: str
    evidence: Evidence = field(default_factory=dict)
    remedy: list[str] = field(default_factory=list)
    cost: Interval | None = None
    picture: Path | None = None
    symptom: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns what diagnosis.json holds: plain types only."""
        picture = None if self.picture is None else self.picture.as_posix()
        return asdict(self) | {"verdict": str(self.verdict), "picture": picture}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Finding:
        """Reads :meth:`as_dict` back; fields that this version does not know are left out.

        Raises:
            KeyError, ValueError: a field is missing, or the verdict is none.
        """
        known = {each.name for each in fields(cls)}
        values = {key: value for key, value in content.items() if key in known}
        picture, cost = values.get("picture"), values.get("cost")
        values["verdict"] = Verdict(content["verdict"])
        values["picture"] = None if picture is None else Path(picture)
        values["cost"] = Interval(**cost) if isinstance(cost, dict) else None  # once it had no interval
        return cls(**values)


@dataclass(frozen=True)
class Check:
    """What a check asks; it makes the check's findings.

    Attributes:
        name: in diagnosis.json.
        title: a few words, for a table.
        order: its place among the checks; of equal findings, that of the smaller number comes first. Causes have the
            smaller numbers: what is measured with (1 to 9), images and labels (10 to 29), inputs, BatchNorm and weights
            (30 to 49), optimiser, head and epochs (50 to 69), symptoms (70 to 99).
        measured: what is measured, one sentence.
        on_validation: whether it means nothing while the validation images or their labels are at fault.
        symptom: whether other faults can be the cause of what it finds.
        of_images: whether it looks at nothing but the images, their split and the corrected frozen net: runs that have
            these in common have its findings in common.
    """

    name: str
    title: str
    order: int
    measured: str
    on_validation: bool = False
    symptom: bool = False
    of_images: bool = False

    def found(
        self,
        verdict: Verdict,
        sentence: str,
        evidence: Evidence | None = None,
        remedy: list[str] | None = None,
        cost: Interval | None = None,
        picture: Path | None = None,
        title: str = "",
    ) -> Finding:
        """Returns a finding of this check, see :class:`Finding`; ``title`` where it has several."""
        return Finding(
            self.name,
            title or self.title,
            verdict,
            self.measured,
            sentence,
            evidence or {},
            remedy or [],
            cost,
            picture,
            self.symptom,
        )


COUNTS = 0.01  # of accuracy: a fault whose removal gains less is no cause of a loss
VALIDATION = ("validation_images", "validation_labels")
"""Checks of what all others measure with."""


def validation_fault(findings: Iterable[Finding]) -> Finding | None:
    """Returns the first finding that says the validation images or their labels are at fault."""
    return next((f for f in findings if f.check in VALIDATION and f.verdict is Verdict.FAULT), None)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Ranks findings by their verdicts, and equal ones by what they cost."""
    return sorted(findings, key=lambda each: (each.verdict.rank, -(each.cost.value if each.cost else 0.0)))


def is_harmless(finding: Finding) -> bool:
    """Says whether what was found surely costs less than :data:`COUNTS`: its whole interval, or what it can move."""
    most = finding.evidence.get(MOVES) if finding.cost is None else finding.cost.high
    return isinstance(most, float) and most < COUNTS


def pays(finding: Finding) -> bool:
    """Says whether removing what was found surely gains accuracy, and as much as counts."""
    return finding.cost is not None and finding.cost.low > 0 and finding.cost.value >= COUNTS


def in_points(cost: Interval) -> str:
    """Returns "+4 points (between -1 and +9)"."""
    value, low, high = (f"{round(100 * each):+d}" for each in (cost.value, cost.low, cost.high))
    return f"{value} point{'' if value in ('+1', '-1') else 's'} (between {low} and {high})"


def capital(text: str) -> str:
    """Returns ``text`` with its first letter large, to begin a sentence."""
    return f"{text[0].upper()}{text[1:]}"


@dataclass(frozen=True)
class Advice:
    """The settings that are advised, all together, as they were tried.

    Attributes:
        lines: overrides for the command line of what was examined.
        gain: what they add to the accuracy (0..1) on unseen images.
    """

    lines: list[str]
    gain: Interval


@dataclass
class Diagnosis:
    """What is wrong, the worst first.

    Attributes:
        headline: one or two sentences, then ``standing``.
        findings: ranked.
        numbers: accuracies 0..1. On validation: val_acc and its standard_error, majority, chance. On unseen images:
            rehearsed, mended, probe, reachable and lost, the last two with _low and _high. Those that were not
            measured, or mean nothing while validation is at fault, are left out.
        advice: None: nothing was measured to gain anything beyond chance.
        combinations: accuracy on unseen images with some remedies applied, each a list of checks and a number.
        kind: run | checkpoint | plan.
        picture: of the loss and its shares, in the diagnosis folder; None: none.
        standing: how good the net is, a sentence.
    """

    headline: str
    findings: list[Finding]
    numbers: dict[str, float]
    advice: Advice | None = None
    combinations: list[dict[str, Any]] = field(default_factory=list)
    kind: str = "run"
    picture: str | None = None
    standing: str = ""

    @property
    def healthy(self) -> bool:
        """Whether no check found a fault."""
        return all(finding.verdict is not Verdict.FAULT for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Returns what diagnosis.json holds."""
        found = [finding.as_dict() for finding in self.findings]
        return asdict(self) | {"healthy": self.healthy, "findings": found}
