"""Checks of settings' bounds; each error is one sentence."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from seedsweep.errors import SeedsweepError

# a typing error asks for more
LARGEST_BATCH, MOST_EPOCHS, MOST_IMAGES = 65_536, 100_000, 10_000_000


def at_least(name: str, value: float, low: float, most: float = math.inf) -> None:
    """Raises SeedsweepError unless ``value`` is finite and ``low <= value <= most``."""
    if not value >= low:
        raise SeedsweepError(f"{name} is {value}, but must be at least {low}.")
    _at_most(name, value, most)


def positive(name: str, value: float, most: float = math.inf) -> None:
    """Raises SeedsweepError unless ``value`` is finite and ``0 < value <= most``."""
    if not value > 0:
        raise SeedsweepError(f"{name} is {value}, but must be greater than 0.")
    _at_most(name, value, most)


def _at_most(name: str, value: float, most: float) -> None:
    if not math.isfinite(value):
        raise SeedsweepError(f"{name} is {value}, but must be a finite number.")
    if value > most:
        raise SeedsweepError(f"{name} is {value:,}, but can be at most {most:,}.")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises SeedsweepError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise SeedsweepError(f"{name} is {value}, but must lie between {low} and {high}.")


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises SeedsweepError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise SeedsweepError(f"{name} is '{value}', but must be one of: {', '.join(choices)}.")


LONGEST_NAME = 200  # bytes, of the 255 that a file's name may have: seedsweep puts words before and after it


def file_name(name: str, value: str) -> None:
    """Raises SeedsweepError unless ``value`` can be the name of one file or folder, wherever it is put."""
    wrong = None
    if not value.strip():
        wrong = "is empty"
    elif value in (".", ".."):
        wrong = "is no name of a folder of its own"
    elif "/" in value:
        wrong = "holds a '/'"
    elif any("\ud800" <= char <= "\udfff" for char in value):
        wrong = "holds bytes that are no UTF-8"
    elif any(ord(char) < 32 or ord(char) == 127 for char in value):
        wrong = "holds a control character"
    elif len(os.fsencode(value)) > LONGEST_NAME:
        wrong = f"has more than {LONGEST_NAME} bytes"
    if wrong:
        shown = value if len(value) <= 60 else f"{value[:60]}..."
        raise SeedsweepError(
            f"{name} is {shown!r}, which {wrong}: give a plain name, for example 'second_try'."
        )


def all_finite(config: Any) -> None:
    """Raises SeedsweepError if a number is NaN or infinite, however deep in dataclasses, dictionaries and lists.

    No setting means anything then: an infinite ``optim.lr`` makes the first step's weights NaN.
    """
    for name, value in _numbers(config, ""):
        if not math.isfinite(value):
            raise SeedsweepError(f"{name} is {value}, but must be a finite number.")


def _numbers(node: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, float):
        yield name, node
    elif is_dataclass(node) or isinstance(node, dict):
        parts = (
            node.items()
            if isinstance(node, dict)
            else ((field.name, getattr(node, field.name)) for field in fields(node))
        )
        for key, value in parts:
            yield from _numbers(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _numbers(value, name)
