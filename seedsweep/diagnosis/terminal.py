"""A diagnosis on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.verdict import Diagnosis

COLOURS = {
    Verdict.FAULT: "red",
    Verdict.SUSPECT: "yellow",
    Verdict.FINE: "green",
    Verdict.UNKNOWN: "bright_black",
}
SAID = {Verdict.UNKNOWN: "can't tell"}


def show(diagnosis: Diagnosis, folder: Path, console: Console | None = None) -> None:
    """Prints the verdict, then every finding, the worst first."""
    console = console or Console(highlight=False)
    console.print()
    console.print(escape(diagnosis.headline), style="bold")
    for finding in diagnosis.findings:
        console.print()
        _finding(finding, console)
    hidden = _hidden(diagnosis)
    if hidden:
        console.print()
        console.print(escape(hidden))
    console.print()
    console.print(f"diagnosis.json and pictures -> {folder}", markup=False, soft_wrap=True)


def _finding(finding: Finding, console: Console) -> None:
    colour = COLOURS[finding.verdict]
    verdict = SAID.get(finding.verdict, str(finding.verdict))
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
    told = []
    for check, finding in costs.items():
        alone = accs.get(frozenset({check}))
        if alone is not None and (finding.cost or 0) >= 0.05 and alone - nothing < 0.4 * (finding.cost or 0):
            told.append(f"{finding.title} fixed alone: {nothing:.0%} -> {alone:.0%}")
    return f"One fault hides another: {'; '.join(told)}. Fix them together." if told else ""
