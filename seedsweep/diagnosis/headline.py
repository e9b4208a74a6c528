"""What a diagnosis says first, and how it looks on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from seedsweep.diagnosis.finding import Diagnosis, Finding, Verdict
from seedsweep.diagnosis.subject import Subject

SMALL = 0.03  # of accuracy: no loss worth a search
COUNTS = 0.01  # of accuracy: a fault whose removal gains less is no cause of a loss
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
    faults = [finding for finding in ranked if finding.verdict is Verdict.FAULT]
    standing = _standing(subject, numbers)
    if not faults:
        return f"{_without_fault(ranked, numbers)} {standing}"
    causes = [finding for finding in faults if (finding.cost or 0.0) >= COUNTS]
    harmless = [finding for finding in faults if finding.cost is not None and finding.cost < COUNTS]
    unmeasured = [finding for finding in faults if finding.cost is None]
    parts = []
    if causes:
        parts.append(_causes(causes, numbers.get("lost", 0.0)))
    elif unmeasured:
        first = unmeasured.pop(0)
        parts.append(f"{first.title}: {first.sentence}{_do(first)}")
    if unmeasured:
        parts.append(f"Also: {', '.join(finding.title for finding in unmeasured)}.")
    for finding in harmless:
        parts.append(f"{finding.title} is set wrongly, but costs nothing measurable here.{_do(finding)}")
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


def _causes(causes: list[Finding], lost: float) -> str:
    worst = causes[0]
    total = max(lost, sum(finding.cost or 0.0 for finding in causes))
    if len(causes) == 1:
        share = f"{_count(worst.cost)} of {_points(total)}"
        most = "Most of the loss" if (worst.cost or 0) > total / 2 else "Part of the loss"
        return f"{most} ({share}) comes from {worst.title}. Do this: `{' '.join(worst.remedy)}`."
    parts = [f"{f.title} {_count(f.cost)} (`{' '.join(f.remedy)}`)" for f in causes]
    return f"The loss of {_points(total)} has {len(causes)} causes: {', '.join(parts)}. Fix them together."


def _without_fault(ranked: list[Finding], numbers: dict[str, float]) -> str:
    named = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.SUSPECT)
    worth = f" Worth a look: {named}." if named else ""
    if "lost" not in numbers:
        return f"No check found a fault in what can be measured before the training.{worth}"
    if numbers["lost"] > max(SMALL, 2 * numbers["standard_error"]):
        look = f" Look at: {named}." if named else ""
        return f"No check found a fault, yet {_points(numbers['lost'])} are missing.{look}"
    if named:
        return f"No check found a fault that costs accuracy here.{worth}"
    open_ones = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.UNKNOWN)
    return (
        f"No check found a fault; can't tell: {open_ones}."
        if open_ones
        else "Healthy: no check found a fault."
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
