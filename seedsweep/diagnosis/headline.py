"""What a diagnosis says first, and how it looks on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from seedsweep.diagnosis.finding import (
    COUNTS,
    Advice,
    Diagnosis,
    Finding,
    Verdict,
    in_points,
    pays,
    validation_fault,
)
from seedsweep.diagnosis.subject import Subject
from seedsweep.stats.interval import Interval

SMALL = 0.03  # of accuracy: no loss worth a search
COLOURS = {
    Verdict.FAULT: "red",
    Verdict.SUSPECT: "yellow",
    Verdict.FINE: "green",
    Verdict.UNKNOWN: "bright_black",
}


def headline_of(
    subject: Subject, ranked: list[Finding], numbers: dict[str, float], advice: Advice | None = None
) -> str:
    """Returns what was found, and where the net stands."""
    standing = standing_of(subject, numbers)
    if at_fault := validation_fault(ranked):
        return (
            f"{at_fault.title}: {at_fault.sentence} While that stands, nothing that is measured on validation can be "
            "trusted. So no setting of the training is advised, no costs are given, overfitting is not judged, and "
            f"what is within reach is left open. {standing}"
        )
    faults = [finding for finding in ranked if finding.verdict is Verdict.FAULT]
    if not faults:
        pays_too = (
            "" if advice is None else f" What pays: `{' '.join(advice.lines)}` {in_points(advice.gain)}."
        )
        return f"{_without_fault(subject, ranked, numbers)}{pays_too} {standing}"
    paying = [finding for finding in faults if pays(finding)]
    unmeasured = [finding for finding in faults if finding.cost is None]
    parts = []
    if faults[0].cost is None:  # it comes first: the others may follow from it
        first = unmeasured.pop(0)
        do = f" Do this: `{' '.join(first.remedy)}`." if first.remedy else ""
        parts.append(f"{first.title}: {first.sentence}{do}")
    if paying:
        parts.append(_causes(paying, advice))
    if unmeasured:
        parts.append(f"Also: {', '.join(finding.title for finding in unmeasured)}.")
    for finding in faults:
        if finding.cost is not None and finding not in paying:
            parts.append(f"{finding.title} is at fault; fixing it gains {_open(finding.cost)}")
    return " ".join([*parts, standing])


def not_reproduced(rehearsed: float, acc: float) -> str:
    """Returns why a rehearsal that does not reproduce the subject tells no gains."""
    return (
        f"a head trained again on stored features with the same settings reaches {rehearsed:.0%}, not {acc:.0%}; so "
        "few images do not explain that difference, so such a head is no measure of this one."
    )


def unsure(cost: Interval, lines: list[str]) -> str:
    """Returns what was measured of overrides that are not advised."""
    return f"With `{' '.join(lines)}` unseen images gain {_open(cost)}"


def _open(cost: Interval) -> str:
    """Says how much lies in an interval that does not speak for a remedy, and what would decide."""
    low, high = (f"{round(100 * end):+d}" for end in (cost.low, cost.high))
    between = f"between {low} and {high} points"
    if cost.high < 0:
        return f"nothing: {between}."
    if cost.high < COUNTS:
        return f"less than a point: {between}."
    return f"{between}: can't tell; more images would."


def standing_of(subject: Subject, numbers: dict[str, float]) -> str:
    """Says how good the net is, beside the largest class and what is within reach."""
    largest = f"always predicting the largest class gets {numbers['majority']:.0%}."
    if "reachable" not in numbers:
        return (
            f"The net {_would(subject)} {numbers['val_acc']:.0%} of these validation images correctly; {largest}"
            if "val_acc" in numbers
            else f"On these validation images {largest}"
        )
    if "val_acc" not in numbers:
        net = "random" if subject.frozen_config.backbone.weights == "none" else "pretrained"
        why = "the frozen net of this plan is random" if subject.is_frozen else "this plan trains the net"
        return (
            f"Its accuracy is not measured: {why}; a linear head on the frozen {net} net reaches "
            f"{numbers['probe']:.0%} accuracy on the validation images, {largest}"
        )
    return (
        f"The net {_would(subject)} {numbers['val_acc']:.0%} of the validation images correctly, where {largest} "
        f"{_reach(subject, numbers)}"
    )


def _reach(subject: Subject, numbers: dict[str, float]) -> str:
    """Says what was measured to be within reach, of which net at which size, and by what."""
    config = subject.clean_config
    height, width = config.data.image_size
    random = "random " if config.backbone.weights == "none" else ""
    by = "a linear probe"
    if numbers.get("mended", 0.0) > numbers["probe"]:
        by = "its head with all that was tried"
    return (
        f"Within reach of {by} on the frozen {random}{subject.backbone.name} at {height}x{width} pixels: "
        f"{numbers['reachable']:.0%} of unseen images (between {numbers['reachable_low']:.0%} and "
        f"{numbers['reachable_high']:.0%})."
    )


def _would(subject: Subject) -> str:
    return "would classify" if subject.kind == "plan" else "classifies"


def _causes(paying: list[Finding], advice: Advice | None) -> str:
    costs = ", ".join(f"{f.title} costs {in_points(f.cost)}" for f in paying if f.cost is not None)
    if advice is None:
        return f"On unseen images {costs}."
    apart = [f for f in paying if f.remedy and not set(f.remedy) & set(advice.lines)]
    lines = ", ".join(f"`{' '.join(f.remedy)}`" for f in apart)
    then = f" Not tried together with that: {lines}." if apart else ""
    if len(paying) - len(apart) == 1:
        return f"On unseen images {costs}. Do this: `{' '.join(advice.lines)}`.{then}"
    return (
        f"On unseen images {costs}. Fix them together, which gains {in_points(advice.gain)}: "
        f"`{' '.join(advice.lines)}`.{then}"
    )


def _without_fault(subject: Subject, ranked: list[Finding], numbers: dict[str, float]) -> str:
    named = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.SUSPECT)
    worth = f" Worth a look: {named}." if named else ""
    if "lost" not in numbers:
        return f"No check found a fault in what can be measured before the training.{worth}"
    lost, low, high = numbers["lost"], numbers["lost_low"], numbers["lost_high"]
    if low > 0 and lost > SMALL:
        look = f" Look at: {named}." if named else ""
        return f"No check found a fault, yet {_points(lost)} are missing ({_points(low)} to {_points(high)}).{look}"
    open_ones = ", ".join(finding.title for finding in ranked if finding.verdict is Verdict.UNKNOWN)
    if named:
        said = f"No check found a fault that costs accuracy here.{worth}"
    elif open_ones:
        said = f"No check found a fault; can't tell: {open_ones}."
    else:
        said = "Healthy: no check found a fault."
    return (
        said
        if high < COUNTS
        else f"{said} Up to {_points(high)} may still be missing: more images would tell."
    )


def _points(cost: float) -> str:
    points = str(round(100 * cost))
    return f"{points} point{'' if points == '1' else 's'}"


def show(diagnosis: Diagnosis, folder: Path) -> None:
    """Prints the headline, then every finding, the worst first."""
    console = Console(highlight=False)
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
    cost = "" if finding.cost is None else f"  [dim]{in_points(finding.cost)} if fixed[/dim]"
    console.print(f"[{colour}]{verdict:<10}[/{colour}] [bold]{escape(finding.title)}[/bold]{cost}")
    console.print(Padding(escape(finding.sentence), (0, 0, 0, 11)))
    if finding.remedy:
        console.print(Padding(f"do this: [bold]{escape(' '.join(finding.remedy))}[/bold]", (0, 0, 0, 11)))


def _hidden(diagnosis: Diagnosis) -> str:
    """Names a fault that another one hides: fixed alone it gains little, together much."""
    accs = {frozenset(entry["mended"]): entry["acc"] for entry in diagnosis.combinations}
    nothing = accs.get(frozenset())
    costs = {f.check: (f.title, f.cost.value) for f in diagnosis.findings if f.cost is not None}
    if nothing is None or len(costs) < 2:
        return ""
    found = []
    for check, (title, cost) in costs.items():
        alone = accs.get(frozenset({check}))
        if alone is not None and cost >= 0.05 and alone - nothing < 0.4 * cost:
            found.append(f"{title} fixed alone: {nothing:.0%} -> {alone:.0%}")
    return f"One fault hides another: {'; '.join(found)}. Fix them together." if found else ""
