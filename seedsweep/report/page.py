"""Finds the sections and puts them on a page."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
import time
from datetime import datetime
from types import ModuleType

import jinja2
from markupsafe import Markup, escape

from seedsweep.report import sections
from seedsweep.report.blocks import Section
from seedsweep.report.contents import Material

log = logging.getLogger(__name__)

CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")
SPECIAL = re.compile(r"([\\<>\[\]*_|#`&$~])")
KINDS = {"run": "run", "sweep": "sweep", "study": "study"}


def found_sections() -> list[ModuleType]:
    """Returns the modules of ``sections/`` by their ORDER."""
    names = [module.name for module in pkgutil.iter_modules(sections.__path__)]
    modules = [importlib.import_module(f"{sections.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.ORDER, module.__name__))


def build(material: Material) -> list[Section]:
    """Returns the sections that have something to show; one that fails is left out with a line in the log."""
    built = []
    for module in found_sections():
        started = time.perf_counter()
        try:
            section = module.section(material)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            log.warning(
                "the report goes without its section %s: %s.",
                module.__name__.rsplit(".", 1)[1],
                reason.rstrip("."),
            )
            log.debug("", exc_info=True)
            continue
        if section is not None:
            built.append(section)
        log.debug("report: %s, %.2f s", module.__name__, time.perf_counter() - started)
    return built


def render(material: Material, built: list[Section], template: str) -> str:
    """Returns the page.

    Args:
        material: named in its head.
        built: its sections.
        template: report.html | report.md
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seedsweep.report", "templates"),
        autoescape=jinja2.select_autoescape(("html", "css"), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"prose": prose, "cell": markdown_cell, "line": markdown_line, "fence": fence}
    verdict = next((section for section in built if section.name == "verdict"), None)
    return environment.get_template(template).render(
        title=material.title,
        kind=KINDS[material.kind],
        folder=str(material.folder),
        verdict=verdict,
        sections=[section for section in built if section is not verdict],
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        safe=Markup,
    )


def prose(text: str) -> Markup:
    """Escapes a text and sets what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def markdown_line(text: object) -> str:
    """Returns a text for Markdown: one line, and nothing in it is HTML, a link, a picture or a formula.

    What stands between single backticks is set as code, where Markdown shows everything as it is but a table's bar.
    Markdown pairs runs of equal length only, so longer ones are escaped with all the rest.
    """
    parts = CODE.split(" ".join(str(text).split()))
    return "".join(
        part.replace("|", "\\|") if place % 2 else SPECIAL.sub(r"\\\1", part)
        for place, part in enumerate(parts)
    )


def markdown_cell(cell: object) -> str:
    """Returns a cell of a table for Markdown."""
    from seedsweep.report.blocks import Bar, Number, Shade
    from seedsweep.report.text import percent

    if isinstance(cell, Number):
        return markdown_line(f"{cell.text} ({cell.below})" if cell.below else cell.text)
    if isinstance(cell, Bar):
        ends = (
            "" if cell.low is None or cell.high is None else f" ({percent(cell.low)} to {percent(cell.high)})"
        )
        return f"{percent(cell.value)}{ends}"
    return markdown_line(cell.text if isinstance(cell, Shade) else cell)


def fence(text: str) -> str:
    """Returns a text as a fenced block that nothing in it can end."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}\n{text}\n{ticks}"
