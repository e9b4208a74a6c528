"""The type of every setting, from the schema: which are text, which are whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.conf import HydraConf

from seedsweep.config.schema import Config


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
