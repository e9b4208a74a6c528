"""What a section is made of: plain data, which the templates turn into HTML and Markdown.

Text is never HTML: the templates escape it. Words between backticks are set as code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph; ``small`` for what explains a table or a picture."""

    text: str
    small: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Figure:
    """A picture: ``svg`` (of :mod:`seedsweep.report.plots`; it is not escaped) or ``uri`` (a data URI)."""

    alt: str
    caption: str = ""
    svg: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures side by side where there is room; ``large``: each takes the whole width."""

    figures: Sequence[Figure]
    large: bool = False
    kind: str = "figures"


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
    reference: float | None = None
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
class Table:
    """Rows under headings; the first cell of each row names it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    matrix: bool = False
    faint: Sequence[int] = ()  # rows that are no results of their own, such as a baseline
    kind: str = "table"


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
class Photos:
    """A gallery."""

    photos: Sequence[Photo]
    kind: str = "photos"


@dataclass(frozen=True)
class Facts:
    """Terms with their values."""

    rows: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Code:
    """Lines to copy, or a file."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Findings:
    """Findings of the diagnosis."""

    findings: Sequence[FindingCard]
    kind: str = "findings"


@dataclass(frozen=True)
class FindingCard:
    """One finding: verdict (fault, suspect, unknown, fine), what was found, what to do."""

    verdict: str
    title: str
    sentence: str
    measured: str = ""
    remedy: str = ""
    cost: str = ""
    figure: Figure | None = None


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown on a click."""

    title: str
    blocks: Sequence[Block]
    kind: str = "folded"


Block = Text | Figures | Table | Photos | Facts | Code | Findings | Folded


@dataclass(frozen=True)
class Section:
    """One part of the page; ``name`` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
