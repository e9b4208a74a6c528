"""Puts the sections on a page, and writes it: report.html and report.md."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from datetime import datetime
from pathlib import Path
from types import ModuleType

import jinja2
from markupsafe import Markup, escape

from seedsweep.diagnosis.finding import in_points
from seedsweep.report import sections
from seedsweep.report.blocks import Bar, Number, Section, Shade, percent
from seedsweep.report.contents import CommandLineOf, Material, read_material
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

PAGE, PLAIN = "report.html", "report.md"
CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")
SPECIAL = re.compile(r"([\\<>\[\]*_|#`&$~])")


def write_report(
    folder: Path, command_line_of: CommandLineOf | None = None, gradcam: int | None = None
) -> Path:
    """Writes the report of a run, sweep or study into its folder, in the place of an earlier one; returns report.html.

    Args:
        command_line_of: finds the command line of a run; None: no advice is proved.
        gradcam: mistakes to explain; None: what the run's own settings say.

    Raises:
        SeedsweepError: nothing finished there.
        OSError: the folder can't be written.
    """
    return write_material(read_material(folder, command_line_of, gradcam))


def write_material(material: Material) -> Path:
    """Writes the report of results that were read already."""
    return write_pages(material.folder, material.title, material.kind, build(material))


def write_pages(folder: Path, title: str, kind: str, built: list[Section]) -> Path:
    """Writes sections as report.html, which is returned, and report.md; the section called verdict stands in the
    head."""
    for name in (PLAIN, PAGE):
        with replacing(folder / name) as part:
            part.write_text(_render(folder, title, kind, built, name), encoding="utf-8", errors="replace")
    return folder / PAGE


def write_at_end(
    folder: Path, command_line_of: CommandLineOf | None = None, known: Material | None = None
) -> Path | None:
    """Writes the report of what just ended; where that fails, one sentence says so, and the results stay good.

    Args:
        known: the results, where they were read already.
    """
    try:
        return write_material(known) if known else write_report(folder, command_line_of)
    except Exception as error:
        log.warning("no report was written for %s: %s", folder, _first_line(error))
        log.debug("", exc_info=True)
        return None


def found_sections() -> list[ModuleType]:
    """Returns the modules of ``sections/`` by their ORDER."""
    names = [module.name for module in pkgutil.iter_modules(sections.__path__)]
    modules = [importlib.import_module(f"{sections.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.ORDER, module.__name__))


def build(material: Material) -> list[Section]:
    """Returns the sections that have something to show; one that fails is left out with a line in the log."""
    built = []
    for module in found_sections():
        try:
            made = module.section(material)
        except Exception as error:
            name = module.__name__.rpartition(".")[2]
            log.warning("the report goes without its section %s: %s", name, _first_line(error))
            log.debug("", exc_info=True)
        else:
            built += made if isinstance(made, list) else [made] if made is not None else []
    return built


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."


def page_environment() -> jinja2.Environment:
    """Returns what renders the templates: values in HTML are escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("seedsweep.report", "templates"),
        autoescape=jinja2.select_autoescape(("html", "css"), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _render(folder: Path, title: str, kind: str, built: list[Section], template: str) -> str:
    """Returns the page of report.html or report.md; the verdict stands in its head."""
    environment = page_environment()
    filters = {
        "breakable": _breakable,
        "cell": _cell,
        "fence": _fence,
        "in_points": in_points,
        "line": _line,
        "percent": percent,
    }
    environment.filters |= filters | {"prose": _prose}
    verdict = next((section for section in built if section.name == "verdict"), None)
    return environment.get_template(template).render(
        title=title,
        kind=kind,
        folder=str(folder),
        verdict=verdict,
        sections=[section for section in built if section is not verdict],
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        safe=Markup,
    )


def _prose(text: str) -> Markup:
    """Escapes a text and sets what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _breakable(html: Markup) -> Markup:
    """Lets a name such as frozen_inception break after its signs, where a narrow screen needs the room."""
    return Markup(re.sub(r"(?<=[\w.])([_./=-])(?=\w)(?![^<]*>)", r"\1<wbr>", str(html)))


def _line(text: object) -> str:
    """Returns a text for Markdown: one line, and nothing in it is HTML, a link, a picture or a formula.

    What stands between single backticks is set as code, where Markdown shows everything as it is but a table's bar.
    Markdown pairs runs of equal length only, so longer ones are escaped with all the rest.
    """
    parts = CODE.split(" ".join(str(text).split()))
    return "".join(
        part.replace("|", "\\|") if place % 2 else SPECIAL.sub(r"\\\1", part)
        for place, part in enumerate(parts)
    )


def _cell(cell: object) -> str:
    """Returns a cell of a table for Markdown."""
    if isinstance(cell, Bar):
        ends = "" if cell.low is None else f" ({percent(cell.low)} to {percent(cell.high)})"
        return f"{percent(cell.value)}{ends}"
    if isinstance(cell, Number):
        return _line(f"{cell.text} ({cell.below})" if cell.below else cell.text)
    return _line(cell.text if isinstance(cell, Shade) else cell)


def _fence(text: str) -> str:
    """Returns a text as a fenced block that nothing in it can end."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}\n{text}\n{ticks}"
