"""What a diagnosis says first, and how it looks on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from seedsweep.diagnosis.finding import COUNTS, Diagnosis, Finding, Verdict, is_harmless, validation_fault
from seedsweep.diagnosis.subject import Subject

SMALL = 0.03  # of accuracy: no loss worth a search
COLOURS = {
    Verdict.FAULT: "red",
    Verdict.SUSPECT: "yellow",
    Verdict.FINE: "green",
    Verdict.UNKNOWN: "bright_black",
}


def headline_of(subject: Subject, ranked: list[Finding], numbers: dict[str, float]) -> str:
    """Returns what was found, and where the net stands.

    Args:
        subject: what was examined.
        ranked: findings, the worst first.
        numbers: of a :class:`Diagnosis`.
    """
    standing = _standing(subject, numbers)
    if at_fault := validation_fault(ranked):
        return (
            f"{at_fault.title}: {at_fault.sentence} While that stands, nothing that is measured on validation can be "
            "trusted. So no setting of the training is advised, no costs are given, overfitting is not judged, and "
            f"what is within reach is left open. {standing}"
        )
    faults = [finding for finding in ranked if finding.verdict is Verdict.FAULT]
    if not faults:
        return f"{_without_fault(subject, ranked, numbers)} {standing}"
    harmless = [finding for finding in faults if is_harmless(finding)]
    causes = [finding for finding in faults if finding.cost is not None and finding not in harmless]
    unmeasured = [finding for finding in faults if finding.cost is None]
    parts = []
    if faults[0].cost is None:  # it comes first: the others may follow from it
        first = unmeasured.pop(0)
        parts.append(f"{first.title}: {first.sentence}{_do(first)}")
    if causes:
        parts.append(_causes(causes, numbers.get("lost", 0.0)))
    if unmeasured:
        parts.append(f"Also: {', '.join(finding.title for finding in unmeasured)}.")
    for finding in harmless:
        parts.append(f"{finding.title} is set wrongly, but costs {_little(numbers)}.{_do(finding)}")
    return " ".join([*parts, standing])


def not_measured(rehearsed: float, acc: float) -> str:
    """Returns why no costs are given, where the rehearsal does not reproduce the subject."""
    return (
        "What each fault costs is not measured: a head trained again on stored features with the same settings "
        f"reaches {rehearsed:.0%}, not {acc:.0%}; so few images do not explain that difference, so such a head is no "
        "measure of this one."
    )


def _standing(subject: Subject, numbers: dict[str, float]) -> str:
    largest = f"always predicting the largest class gets {numbers['majority']:.0%}."
    if "reachable" not in numbers:
        return (
            f"The net {_would(subject)} {numbers['val_acc']:.0%} of these validation images correctly; {largest}"
            if "val_acc" in numbers
            else f"On these validation images {largest}"
        )
    if "val_acc" not in numbers:
        net = "random" if subject.frozen_config.backbone.weights == "none" else "pretrained"
        return (
            f"Its accuracy is not measured: this plan trains the net; a linear head on the frozen {net} net reaches "
            f"{numbers['probe']:.0%} accuracy on the validation images, {largest}"
        )
    return (
        f"The net {_would(subject)} {numbers['val_acc']:.0%} of the validation images correctly; "
        f"{numbers['reachable']:.0%} are within reach, {largest}"
    )


def _would(subject: Subject) -> str:
    return "would classify" if subject.kind == "plan" else "classifies"


def _little(numbers: dict[str, float]) -> str:
    """Says that less than a point was lost, and how good that is."""
    error = numbers.get("standard_error")
    good = "" if error is None else f" (good to {_points(2 * error)})"
    return f"less than a point on these images{good}"


def _causes(causes: list[Finding], lost: float) -> str:
    worst = causes[0]
    total = max(lost, sum(finding.cost or 0.0 for finding in causes))
    if len(causes) == 1:
        share = f"{_count(worst.cost)} of {_points(total)}"
        most = "Most of the loss" if (worst.cost or 0) > total / 2 else "Part of the loss"
        return f"{most} ({share}) comes from {worst.title}. Do this: `{' '.join(worst.remedy)}`."
    parts = [f"{f.title} {_count(f.cost)} (`{' '.join(f.remedy)}`)" for f in causes]
    return f"The loss of {_points(total)} has {len(causes)} causes: {', '.join(parts)}. Fix them together."


def _without_fault(subject: Subject, ranked: list[Finding], numbers: dict[str, float]) -> str:
    named = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.SUSPECT)
    worth = f" Worth a look: {named}." if named else ""
    if "lost" not in numbers:
        return f"No check found a fault in what can be measured before the training.{worth}"
    lost, margin = numbers["lost"], 2 * numbers["standard_error"]
    if lost > max(SMALL, margin):
        look = f" Look at: {named}." if named else ""
        return f"No check found a fault, yet {_points(lost)} are missing.{look}"
    open_ones = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.UNKNOWN)
    if named:
        said = f"No check found a fault that costs accuracy here.{worth}"
    elif open_ones:
        said = f"No check found a fault; can't tell: {open_ones}."
    else:
        said = "Healthy: no check found a fault."
    if lost + margin < COUNTS:
        return said
    n = subject.n_val
    return (
        f"{said} Up to {_points(lost + margin)} may still be missing: {n} validation images can't tell less."
    )


def _do(finding: Finding) -> str:
    return f" Do this: `{' '.join(finding.remedy)}`." if finding.remedy else ""


def _count(cost: float | None) -> str:
    return str(round((cost or 0.0) * 100))


def _points(cost: float) -> str:
    points = _count(cost)
    return f"{points} point{'' if points == '1' else 's'}"


def show(diagnosis: Diagnosis, folder: Path, console: Console | None = None) -> None:
    """Prints the headline, then every finding, the worst first."""
    console = console or Console(highlight=False)
    console.print()
    console.print(escape(diagnosis.headline), style="bold")
    for finding in diagnosis.findings:
        console.print()
        _show(finding, console)
    if hidden := _hidden(diagnosis):
        console.print()
        console.print(escape(hidden))
    console.print()
    console.print(f"diagnosis.json and pictures -> {folder}", markup=False, soft_wrap=True)


def _show(finding: Finding, console: Console) -> None:
    colour = COLOURS[finding.verdict]
    verdict = "can't tell" if finding.verdict is Verdict.UNKNOWN else str(finding.verdict)
    cost = "" if finding.cost is None else f"  [dim]{finding.cost * 100:+.0f} points if fixed[/dim]"
    console.print(f"[{colour}]{verdict:<10}[/{colour}] [bold]{escape(finding.title)}[/bold]{cost}")
    console.print(Padding(escape(finding.sentence), (0, 0, 0, 11)))
    if finding.remedy:
        console.print(Padding(f"do this: [bold]{escape(' '.join(finding.remedy))}[/bold]", (0, 0, 0, 11)))


def _hidden(diagnosis: Diagnosis) -> str:
    """Names a fault that another one hides: fixed alone it gains little, together much."""
    accs = {frozenset(entry["mended"]): entry["val_acc"] for entry in diagnosis.combinations}
    nothing = accs.get(frozenset())
    costs = {f.check: f for f in diagnosis.findings if f.cost is not None}
    if nothing is None or len(costs) < 2:
        return ""
    found = []
    for check, finding in costs.items():
        alone = accs.get(frozenset({check}))
        if alone is not None and (finding.cost or 0) >= 0.05 and alone - nothing < 0.4 * (finding.cost or 0):
            found.append(f"{finding.title} fixed alone: {nothing:.0%} -> {alone:.0%}")
    return f"One fault hides another: {'; '.join(found)}. Fix them together." if found else ""
