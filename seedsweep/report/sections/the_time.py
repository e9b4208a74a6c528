"""The time of a sweep or study: forecast, budget, truth, and what was not run."""

from __future__ import annotations

from seedsweep.report.blocks import Section, Text
from seedsweep.report.contents import STUDY, SWEEP, Material
from seedsweep.runs.time_given import TimeGiven

ORDER = 17


def section(material: Material) -> Section | None:
    """What a budget left out first; None where the time was neither measured nor limited."""
    found = TimeGiven.read(material.folder) if material.kind in (SWEEP, STUDY) else None
    if found is None:
        return None
    line = f"{found.line[:1].upper()}{found.line[1:]}."
    return Section("time", "Time", [*map(Text, found.sentences), Text(line, small=not found.sentences)])
