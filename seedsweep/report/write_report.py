"""Writes report.html and report.md."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.report.contents import CommandLineOf, read_material
from seedsweep.report.page import build, render
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

PAGE, PLAIN = "report.html", "report.md"


def write_report(
    folder: Path, command_line_of: CommandLineOf | None = None, gradcam: int | None = None
) -> Path:
    """Writes the report of a run, a sweep or a study into its folder, in the place of an earlier one.

    Args:
        folder: of the results.
        command_line_of: finds the command line of a run; None: no advice is proved.
        gradcam: mistakes to explain; None: what the run's own settings say.

    Returns:
        report.html.

    Raises:
        SeedsweepError: nothing finished there.
        OSError: the folder can't be written.
    """
    material = read_material(folder, command_line_of, gradcam)
    sections = build(material)
    for name in (PLAIN, PAGE):
        path = material.folder / name
        with replacing(path) as part:
            part.write_text(render(material, sections, name), encoding="utf-8", errors="replace")
    return material.folder / PAGE


def write_at_end(folder: Path, command_line_of: CommandLineOf | None = None) -> Path | None:
    """Writes the report of what just ended; where that fails, one sentence says so, and the results stay good.

    Args:
        folder: of the results.
        command_line_of: finds the command line of a run; None: no advice is proved.
    """
    try:
        return write_report(folder, command_line_of)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("no report was written for %s: %s", folder, reason.rstrip(".") + ".")
        log.debug("", exc_info=True)
        return None
