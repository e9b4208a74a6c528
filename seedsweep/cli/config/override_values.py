"""What the value of an override means, by the type of its setting: text stays the text that was typed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import as_text, is_quoted, key_of, quoted, split, text_of
from seedsweep.runs.command import typed

_SWEEPS = re.compile(r"(choice|glob|range|interval|shuffle|sort|tag)\(.*\)", re.DOTALL)
_CHOICE = re.compile(r"choice\((.*)\)", re.DOTALL)
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_MANY_DIGITS = re.compile(r"\d{400}")
LARGEST = 10**15
# folders that Hydra makes: it knows no ~
HYDRAS = ("paths.outputs", "paths.multirun", "hydra.run.dir", "hydra.sweep.dir")
SIZE = "data.image_size"


@cache
def kinds() -> dict[str, Any]:
    """Returns the annotated type of each setting by its dotted key, of the schema and of Hydra's own settings."""
    return dict([*_below(Config, ""), *_below(HydraConf, "hydra.")])


def is_text(key: str) -> bool:
    """Says whether a setting is text; ``resume`` is, on the command line: a folder."""
    kind = kinds().get(key)
    return key == "resume" or kind is str or set(get_args(kind)) == {str, NoneType}


def is_whole(key: str) -> bool:
    """Says whether a setting is a whole number."""
    return kinds().get(key) is int


def can_be_null(key: str) -> bool:
    """Says whether a setting may be null, as a choice of a group may."""
    return key not in kinds() or NoneType in get_args(kinds()[key])


def _below(kind: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from _below(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


def as_meant(override: str) -> str:
    """Writes an override so that Hydra reads what was meant.

    A text is quoted where Hydra would read something else (``data.root=2024_10``); a list of texts is a grid, each of
    them a text, unless a file or folder has the whole list as its name. A whole number may be written as ``1e3``, and
    one number for ``data.image_size`` is both sides. What is in quotes already stays.

    Raises:
        SeedsweepError: the value may be a name with a comma as well as a list of names.
    """
    prefix, key, value = _parts(override)
    if key is None or not value:
        return override
    if is_text(key) or _is_group(key):
        return f"{prefix}={_text(key, value)}"
    if _MANY_DIGITS.search(value):
        raise SeedsweepError(f"{key} is a number of more than 400 digits, which no setting takes.")
    if is_whole(key) or key == SIZE:
        found = _CHOICE.fullmatch(value)
        numbers = ",".join(_number(key, part) for part in split(found[1] if found else value))
        value = f"choice({numbers})" if found else numbers
    return _readable(prefix, value)


def _parts(override: str) -> tuple[str, str | None, str]:
    """Returns what stands before the ``=``, the key (None: the override takes one away), and the value."""
    prefix, equals, value = override.partition("=")
    if not equals or prefix.startswith("~"):
        return prefix, None, value
    return prefix, key_of(override), value


def _is_group(key: str) -> bool:
    return "." not in key and key not in kinds() and bool(re.fullmatch(r"[\w/@:-]+", key))


def _text(key: str, value: str) -> str:
    if is_quoted(value) or ("." not in key and key not in kinds() and value[0] in "[{"):
        return value
    is_there = is_text(key) and _is_there(value)
    if _SWEEPS.fullmatch(value) and not is_there:
        if found := _CHOICE.fullmatch(value):
            return f"choice({','.join(_one(key, part) for part in split(found[1]))})"
        return value
    parts = split(value)
    if len(parts) == 1 or not all(parts):
        return _one(key, value)
    if not is_there:
        return ",".join(_one(key, part) for part in parts)
    if all(map(_is_there, parts)):
        as_list = f"{key}=choice({','.join(map(as_text, parts))})"
        raise SeedsweepError(
            f"{key}={value} may be one name or a list of {len(parts)}, and all of them are there: write "
            f"{typed((key, value))} for the one, or {typed(as_list)} for the list."
        )
    return _one(key, value)


def _one(key: str, value: str) -> str:
    if is_quoted(value):
        return value
    text = value.replace("\\,", ",")
    text = os.path.expanduser(text) if key in HYDRAS else text
    if text.lower() == "null" and can_be_null(key) and not _is_there(text):
        return "null"
    return as_text(text)


def _is_there(value: str) -> bool:
    try:
        return os.path.lexists(os.path.expanduser(value))
    except ValueError:  # a NUL in it
        return False


def _number(key: str, value: str) -> str:
    if key == SIZE:
        return f"[{value},{value}]" if _WHOLE.fullmatch(value) else value
    if _NUMBER.fullmatch(value) and not _WHOLE.fullmatch(value):
        number = float(value)
        if abs(number) <= LARGEST and number == int(number):
            return str(int(number))
    return value


def _readable(prefix: str, value: str) -> str:
    """Puts quotes round a value that Hydra's grammar can't read."""
    plain, with_quotes = f"{prefix}={value}", f"{prefix}={quoted(value)}"
    return with_quotes if not _can_read(plain) and _can_read(with_quotes) else plain


def _can_read(override: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([override])
    except OverrideParseException:
        return False
    return True


def how_to_quote(override: str) -> str:
    """Says how a text with a comma is written, where the setting is text; else nothing."""
    _, key, value = _parts(override)
    if key is None or not is_text(key):
        return ""
    whole = ",".join(text_of(part) for part in split(value))
    return f", or, if it is one text, write {typed((key, whole))}"
