"""What a section is made of: plain data, which the templates turn into HTML and Markdown; and how numbers are written.

Text is never HTML: the templates escape it. Words between backticks are set as code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.diagnosis.finding import Finding
from seedsweep.stats.interval import Interval

DASH = "–"


@dataclass(frozen=True)
class Block:
    """A part of a section; the templates know it by its ``kind``."""

    @property
    def kind(self) -> str:
        """Name of the class, in small letters."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Section:
    """One part of the page; ``name`` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; ``small`` for what explains a table or a picture."""

    text: str
    small: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture: ``svg`` (of :mod:`seedsweep.report.run_pictures`; it is not escaped) or ``uri`` (a data URI)."""

    alt: str
    caption: str = ""
    svg: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Figures(Block):
    """Pictures side by side where there is room; ``large``: each takes the whole width."""

    figures: Sequence[Figure]
    large: bool = False


@dataclass(frozen=True)
class Number:
    """A cell: a value, and under it something smaller."""

    text: str
    below: str = ""
    loud: bool = False


@dataclass(frozen=True)
class Bar:
    """A cell drawn on an axis from 0 to 1: an interval, the value in it, and the points it comes from."""

    value: float
    low: float | None = None
    high: float | None = None
    points: Sequence[float] = ()
    filled: bool = False  # a bar from 0 to the value
    trap: bool = False


@dataclass(frozen=True)
class Shade:
    """A cell of a confusion matrix: a count, shaded by its share of the row."""

    text: str
    share: float
    correct: bool = False


Cell = str | Number | Bar | Shade


@dataclass(frozen=True)
class Column:
    """A column's heading; ``extra`` ones are left out on a narrow screen."""

    name: str
    number: bool = False
    extra: bool = False
    drawn: bool = False


@dataclass(frozen=True)
class Table(Block):
    """Rows under headings; the first cell of each row names it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    matrix: bool = False
    faint: Sequence[int] = ()  # rows that are no results of their own, such as a baseline


@dataclass(frozen=True)
class Photo:
    """A photograph, what was seen in it, and where the net looked."""

    title: str
    facts: Sequence[str]
    uri: str = ""
    heat_uri: str = ""
    alt: str = ""
    heat_alt: str = ""


@dataclass(frozen=True)
class Photos(Block):
    """A gallery."""

    photos: Sequence[Photo]


@dataclass(frozen=True)
class Facts(Block):
    """Terms with their values."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code(Block):
    """Lines to copy, or a file."""

    text: str


@dataclass(frozen=True)
class Findings(Block):
    """Findings of the diagnosis, each with its picture as a data URI; empty: it has none."""

    findings: Sequence[tuple[Finding, str]]


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that are shown on a click."""

    title: str
    blocks: Sequence[Block]


def percent(share: float | None, digits: int = 1) -> str:
    """Returns 0.8834 as ``88.3``; a dash for what is not known."""
    if share is None or math.isnan(share):
        return DASH
    return f"{100 * share:.{digits}f}"


def with_sign(value: float) -> str:
    """Returns a difference in points, 0.048 as ``+4.8``."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def span(interval: Interval) -> str:
    """Returns ``80.4–94.1``."""
    return f"{percent(interval.low)}{DASH}{percent(interval.high)}"


def p_value(p: float) -> str:
    """Returns ``p < 0.001`` or ``p = 0.03``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.3f}"


def listed(words: Sequence[str]) -> str:
    """Returns ``a``, ``a and b``, or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def seconds(value: float) -> str:
    """Returns ``4.2 s``, ``42 s``, ``3 min 12 s`` or ``2 h 5 min``."""
    if value < 10:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if value >= 100 else f"{value:.0f} s"
