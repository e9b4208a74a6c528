"""What the diagnosis found, where there is one."""

from __future__ import annotations

from pathlib import Path

from seedsweep.diagnosis.finding import Verdict
from seedsweep.report.blocks import Block, Figure, Figures, Findings, Folded, Section, Text
from seedsweep.report.contents import RUN, Material
from seedsweep.report.embedded_images import png_uri

ORDER = 30


def section(material: Material) -> Section | None:
    """Faults and suspects first, the rest on demand."""
    blocks: list[Block] = []
    for found in material.diagnosed:
        of = f"`{found.label}`: " if found.label and material.kind != RUN else ""
        blocks.append(Text(f"{of}{found.headline or f'{len(found.findings)} checks.'}"))
        if uri := _picture(found.folder, found.picture):
            blocks.append(Figures([Figure("What each fault costs", uri=uri)], large=True))
        cards = [(finding, _picture(found.folder, finding.picture)) for finding in found.findings]
        bad = [card for card in cards if card[0].verdict in (Verdict.FAULT, Verdict.SUSPECT)]
        rest = [card for card in cards if card not in bad]
        if bad:
            blocks.append(Findings(bad))
        if rest:
            blocks.append(Folded(f"{len(rest)} checks without a fault", [Findings(rest)]))
    return Section("diagnosis", "Diagnosis", blocks) if blocks else None


def _picture(folder: Path, picture: Path | str | None) -> str:
    """Returns a picture of a diagnosis as a data URI; empty where there is none in its folder."""
    if picture is None:
        return ""
    path = (folder / picture).resolve()
    return png_uri(path) if path.is_relative_to(folder.resolve()) else ""
