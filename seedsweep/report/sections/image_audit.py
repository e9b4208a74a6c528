"""What the audit of the images found, before anything was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedsweep.report.blocks import Block, Figure, Figures, Folded, Section, Text
from seedsweep.report.contents import Material
from seedsweep.report.embedded_images import png_uri
from seedsweep.runs.unseen import COPY

ORDER = 83  # after all pictures of the results
LEFT_OUT = "left_out"
ALT = {"contradictions.png": "Files in two classes", "copies.png": "Copies, two side by side"}


def section(material: Material) -> Section | None:
    """A paragraph for each thing that was found; None where no audit was made, or a diagnosis tells of the images."""
    folder = material.audit_folder
    if folder is None or not material.audit or material.diagnosed:
        return None
    lines = [
        line for line in material.audit["lines"] if line["kind"] != LEFT_OUT
    ]  # it has a section of its own
    if material.best is not None and (unseen := material.best.unseen) is not None:
        about = "leaks" if unseen.one == COPY else "photographs"
        lines = [
            line | {"text": f"{line['text']} {unseen.basis}"} if line["kind"] == about else line
            for line in lines
        ]
    return audit_section(folder, material.audit | {"lines": lines}, f"in `{folder.name}`")


def audit_section(folder: Path, audit: dict[str, Any], where: str) -> Section:
    """Returns the lines of an audit, ``where`` its lists are, and its pictures on a click."""
    lines = audit["lines"]
    blocks: list[Block] = [Text(str(line["text"])) for line in lines]
    if not lines:
        blocks.append(Text(f"Nothing was found in {audit['images']} images."))
    tables = list(dict.fromkeys(line["table"] for line in lines if line["table"]))
    if tables:
        named = ", ".join(f"`{name}`" for name in tables)
        blocks.append(Text(f"The whole lists: {named} {where}.", small=True))
    names = list(dict.fromkeys(line["picture"] for line in lines if line["picture"]))
    figures = [Figure(ALT.get(name, name), uri=uri) for name in names if (uri := png_uri(folder / name))]
    if figures:
        blocks.append(Folded("Pictures", [Figures(figures, large=True)]))
    return Section("images", "The images", blocks)
