"""What the diagnosis found, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.report.blocks import Block, Figure, Figures, FindingCard, Findings, Folded, Section, Text
from seedsweep.report.contents import RUN, Material, findings_of
from seedsweep.report.pictures import png_uri
from seedsweep.report.text import percent

ORDER = 30


def section(material: Material) -> Section | None:
    """Faults and suspects first, the rest on demand."""
    blocks: list[Block] = []
    for name, folder, content in material.diagnosed:
        found = findings_of(content)  # ranked already
        if not found:
            continue
        headline = str(content.get("headline") or "")
        of = f"`{name}`: " if name and material.kind != RUN else ""
        blocks.append(Text(f"{of}{headline}" if headline else f"{of}{len(found)} checks."))
        if uri := _picture(folder, content.get("picture")):
            blocks.append(Figures([Figure("What each fault costs", uri=uri)], large=True))
        bad = [f for f in found if f.verdict in (Verdict.FAULT, Verdict.SUSPECT)]
        rest = [f for f in found if f not in bad]
        if bad:
            blocks.append(Findings([_card(finding, folder) for finding in bad]))
        if rest:
            cards = Findings([_card(finding, folder) for finding in rest])
            blocks.append(Folded(f"{len(rest)} checks without a fault", [cards]))
    return Section("diagnosis", "Diagnosis", blocks) if blocks else None


def _card(finding: Finding, folder: Path) -> FindingCard:
    uri = _picture(folder, finding.picture)
    return FindingCard(
        verdict=str(finding.verdict),
        title=finding.title,
        sentence=finding.sentence,
        measured=finding.measured,
        remedy=" ".join(finding.remedy),
        cost=f"{percent(finding.cost)} points" if finding.cost else "",
        figure=Figure(f"Evidence: {finding.title}", uri=uri) if uri else None,
    )


def _picture(folder: Path, picture: Any) -> str:
    if picture is None:
        return ""
    path = (folder / picture).resolve()
    return png_uri(path) if path.is_relative_to(folder.resolve()) else ""
