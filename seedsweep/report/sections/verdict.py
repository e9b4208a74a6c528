"""The verdict, first."""

from __future__ import annotations

from seedsweep.report.blocks import Section, Text
from seedsweep.report.contents import Material
from seedsweep.report.verdict import sentences

ORDER = 0


def section(material: Material) -> Section | None:
    """Two sentences."""
    return Section("verdict", "Verdict", [Text(sentence) for sentence in sentences(material)])
