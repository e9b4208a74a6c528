"""The ladder, where there is one: what each change from the question to the best arm was worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seedsweep.report.blocks import Figure, Figures, Section, Text
from seedsweep.report.material import Material
from seedsweep.report.pictures import png_uri
from seedsweep.report.runs import read_json

ORDER = 20


def section(material: Material) -> Section | None:
    """Its pictures and sentences."""
    content = read_json(material.folder / "ladder.json")
    figures = [
        Figure(f"Ladder: {path.stem.replace('_', ' ')}", uri=uri)
        for path in sorted(material.folder.glob("ladder*.png"))
        if (uri := png_uri(path))
    ]
    told = [Text(sentence) for sentence in _sentences(content)]
    if not figures and not told:
        return None
    blocks: list[Figures | Text] = [Figures(figures, large=True)] if figures else []
    return Section("ladder", "Ladder", [*blocks, *told])


def _sentences(content: Any) -> Iterator[str]:
    """Finds every ``sentence`` in the file, in its order."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "sentence" and isinstance(value, str):
                yield value
            elif key == "sentences" and isinstance(value, list):
                yield from (str(each) for each in value)
            else:
                yield from _sentences(value)
    elif isinstance(content, list):
        for each in content:
            yield from _sentences(each)
