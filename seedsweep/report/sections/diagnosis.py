"""What the diagnosis found, where there is one; of a sweep a table of all diagnosed arms, then a section for each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seedsweep.diagnosis.finding import Finding, Verdict, in_points
from seedsweep.report.blocks import (
    Block,
    Column,
    Figure,
    Figures,
    Findings,
    Folded,
    Section,
    Table,
    Text,
    listed,
)
from seedsweep.report.contents import SWEEP, Diagnosed, Material
from seedsweep.report.embedded_images import png_uri

ORDER = 30
HEAD = ("arm", "what is at fault", "what to do")


def section(material: Material) -> list[Section]:
    """Faults and suspects first, the rest on demand; what several diagnoses say alike stands in the first."""
    of_itself = [found for found in material.diagnosed if not (found.label and material.kind == SWEEP)]
    of_arms = [found for found in material.diagnosed if found not in of_itself]
    said: set[str] = set()
    blocks = [block for found in of_itself for block in blocks_of(found, said)]
    if of_arms:
        rows = [list(row) for row in summary(of_arms)]
        blocks.append(Table("The arms that were diagnosed", [Column(name) for name in HEAD], rows))
    made = [Section("diagnosis", "Diagnosis", blocks)] if blocks else []
    return made + [
        Section(f"diagnosis{number}", f"Diagnosis of {found.label}", blocks_of(found, said))
        for number, found in enumerate(of_arms, 1)
    ]


def diagnosed_in_words(diagnosed: Iterable[Diagnosed]) -> str:
    """Returns a sentence that names the faults of the first diagnosis that found any; empty if there is none."""
    for found in diagnosed:
        if faults := [finding.title for finding in found.findings if finding.verdict is Verdict.FAULT]:
            of = f" of `{found.label}`" if found.label else ""
            n = f"{len(faults)} fault{'' if len(faults) == 1 else 's'}"
            return f"The diagnosis{of} finds {n}: {listed(faults)}."
    return ""


def summary(diagnosed: Iterable[Diagnosed]) -> list[tuple[str, str, str]]:
    """Returns a row for each diagnosis: the cells of :data:`HEAD`."""
    rows = []
    for found in diagnosed:
        of = {v: [each for each in found.findings if each.verdict is v] for v in Verdict}
        worst = of[Verdict.FAULT] or of[Verdict.SUSPECT]
        titles = ", ".join(map(_with_cost, worst))
        what = titles if of[Verdict.FAULT] else f"no fault; suspect: {titles}" if worst else "no fault found"
        remedies = " ".join(dict.fromkeys(line for each in worst for line in each.remedy))
        untried = f"{remedies} (not tried)" if remedies else ""
        rows.append((found.label, what, " ".join(found.advice) or untried))
    return rows


def _with_cost(finding: Finding) -> str:
    return finding.title if finding.cost is None else f"{finding.title} (if fixed: {in_points(finding.cost)})"


def blocks_of(found: Diagnosed, said: set[str] | None = None) -> list[Block]:
    """Returns the headline, the picture of the costs, and the findings.

    Args:
        said: sentences that stand above, and are left out here; these are added to them. None: there are none.
    """
    said = set() if said is None else said
    headline = found.headline or f"{len(found.findings)} checks."
    for finding in found.findings:  # its card says it
        headline = headline.replace(f"{finding.title}: {finding.sentence}", f"{finding.title}: a fault.")
    blocks: list[Block] = [Text(headline)]
    if uri := _picture(found.folder, found.picture):
        blocks.append(Figures([Figure("What each fault costs", uri=uri)], large=True))
    new = [finding for finding in found.findings if finding.sentence not in said]
    said.update(finding.sentence for finding in new)
    cards = [(finding, _picture(found.folder, finding.picture)) for finding in new]
    bad = [card for card in cards if card[0].verdict in (Verdict.FAULT, Verdict.SUSPECT)]
    rest = [card for card in cards if card not in bad]
    if bad:
        blocks.append(Findings(bad))
    if rest:
        blocks.append(Folded(f"{len(rest)} checks without a fault", [Findings(rest)]))
    if n := len(found.findings) - len(new):
        what = "finding is" if n == 1 else "findings are"
        blocks.append(Text(f"{n} more {what} word for word as above.", small=True))
    return blocks


def _picture(folder: Path, picture: Path | str | None) -> str:
    """Returns a picture of a diagnosis as a data URI; empty where there is none in its folder."""
    if picture is None:
        return ""
    path = (folder / picture).resolve()
    return png_uri(path) if path.is_relative_to(folder.resolve()) else ""
