"""Candidate groupings of images, read from their files' names: what part of a name may stand for a photograph.

A name is read as units (a word with its number, a number, a hash) between separators: ``scan_2024-05-01_r03_c07`` has
six. A candidate keeps the first units, the last ones, or one between them. A counter may also count photographs of
which neighbours belong together: then its last digit is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_RUN = re.compile(r"[^\W_]+")
_UNIT = re.compile(r"[^\W\d_]+\d*|\d+")
_HASH = re.compile(r"(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}")  # hexadecimal, digits and letters mixed
_PLAIN = re.compile(
    r"[ ._()+=@,-]*"
)  # separators that are written as they are; others may need a shell's quotes
ALIKE = 0.9  # share of the names that must have the same number of units
MOST_UNITS = 12
ANY = (r"^(.+)[\W_]+[^\W_]+\.\w+$", r"^(.+)[\W_]+[^\W_]+[\W_]+[^\W_]+\.\w+$", r"^([^\W_]+)[\W_]")
"""For names of several kinds: all but the last unit, all but the last two, the first one."""


@dataclass(frozen=True)
class NamePattern:
    """A regular expression for ``data.group_regex``."""

    regex: str  # its first group names the photograph
    # the group is a counter without its last digits: neighbours in a series, not one photograph
    is_block: bool = False
    has_rest: bool = True  # behind or before the group stands what tells its images apart
    # what is left out is Roboflow's mark of an augmented copy, so that a group is one image
    copies: bool = False


def name_patterns(names: Sequence[str]) -> list[NamePattern]:
    """Returns the candidate patterns for files' names (without folders); of equal groups, the plainest comes first."""
    stems = [name.rpartition(".")[0] or name for name in names]
    read = [_read(stem) for stem in stems]
    shape, alike = Counter(each.shape for each in read).most_common(1)[0]
    if alike < ALIKE * len(names) or not 0 < len(shape) <= MOST_UNITS:
        return [NamePattern(each) for each in ANY]
    chosen = [each for each in read if each.shape == shape]
    units = [_unit_regex({each.units[place] for each in chosen}) for place in range(len(shape))]
    gaps = [_gap_regex({each.gaps[place] for each in chosen}) for place in range(len(shape))]
    return _patterns(units, gaps)


def _patterns(units: list[str], gaps: list[str]) -> list[NamePattern]:
    n = len(units)
    joined = [gap + unit for gap, unit in zip(gaps, units, strict=True)]

    def part(first: int, end: int) -> str:
        return units[first] + "".join(joined[first + 1 : end])

    whole, blocks, between, last = [], [], [], []
    for end in range(1, n + 1):
        rest = "".join(joined[end:])
        if end < n:
            copies = re.match(r"([^\w\\]*_[^\W\d_]+)?\\\.rf", rest) is not None
            whole.append(NamePattern(f"^{gaps[0]}({part(0, end)}){rest}", copies=copies))
        if units[end - 1].endswith(r"\d+"):
            for digits in (r"\d", r"\d\d"):
                regex = f"^{gaps[0]}({part(0, end)}){digits}{rest}"
                blocks.append(NamePattern(regex, is_block=True, has_rest=end < n))
    for first in range(n - 1, 0, -1):
        before = "".join(joined[:first]) + gaps[first]
        last.append(NamePattern(f"^{before}({part(first, n)})"))
        if first < n - 1:
            between.append(NamePattern(f"^{before}({units[first]}){''.join(joined[first + 1 :])}"))
    return whole + between + last + blocks


def words_of(name: str) -> str:
    """Returns a name without its numbers and hashes: a class's own name may stand in it."""
    stem = name.rpartition(".")[0] or name
    return re.sub(r"\d+", "#", _RUN.sub(lambda run: "#" if _HASH.fullmatch(run[0]) else run[0], stem))


@dataclass(frozen=True)
class _Read:
    """A name's units and the separators before each; ``shape`` is equal for names that one expression fits."""

    units: list[str]
    gaps: list[str]
    shape: tuple[tuple[str, bool], ...]


def _read(stem: str) -> _Read:
    found: list[tuple[str, re.Match[str]]] = []
    for run in _RUN.finditer(stem):
        if _HASH.fullmatch(run[0]):
            found.append(("hash", run))
        else:
            parts = _UNIT.finditer(stem, *run.span())
            found += [("number" if each[0].isdigit() else "word", each) for each in parts]
    ends = [0, *(each.end() for _, each in found)]
    gaps = [stem[end : each.start()] for end, (_, each) in zip(ends, found, strict=False)]
    shape = tuple((kind, bool(gap)) for gap, (kind, _) in zip(gaps, found, strict=True))
    return _Read([each[0] for _, each in found], gaps, shape)


def _unit_regex(texts: set[str]) -> str:
    """Writes an expression for all texts that stand in one place: all numbers, all hashes, or all words."""
    if any(_HASH.fullmatch(text) for text in texts):
        return r"[^\W_]+"
    words = {re.sub(r"\d+$", "", text) for text in texts}
    if len(texts) == 1:  # a number that is the same in all may be another one in the next photograph
        return _escaped(next(iter(words))) + (r"\d+" if words.isdisjoint(texts) else "")
    number = "" if words == texts else r"\d+" if words.isdisjoint(texts) else r"\d*"
    return (_escaped(next(iter(words))) if len(words) == 1 else r"[^\W\d_]+") + number


def _gap_regex(texts: set[str]) -> str:
    one = next(iter(texts))
    return _escaped(one) if len(texts) == 1 and _PLAIN.fullmatch(one) else r"[\W_]+"


def _escaped(text: str) -> str:
    """Escapes what regular expressions read otherwise; unlike ``re.escape`` it leaves blanks and dashes as they are."""
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)
