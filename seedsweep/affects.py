"""What a setting affects, as metadata on its field: a run's numbers, unless the field says otherwise.

A new setting is declared once, in the options of its room; nothing else lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

# which images there are, and on which side of the split
SPLIT: Mapping[str, str] = {"affects": "split"}
# how fast a run goes, where it writes, what it prints: no number
SPEED: Mapping[str, str] = {"affects": "speed"}


def content(
    settings: Any,
    *,
    without: Mapping[str, str] | None = None,
    only: Mapping[str, str] | None = None,
    of: type | None = None,
) -> dict[str, Any]:
    """Returns the values of options as :func:`dataclasses.asdict` does, chosen by what they affect.

    Args:
        settings: a dataclass; dataclasses in it become dictionaries.
        without: leaves out the settings that affect this, at every depth.
        only: keeps the settings that affect this, with all that is in them.
        of: a class that ``settings`` extends, whose fields alone are meant; None: all fields.
    """
    found: dict[str, Any] = {}
    for each in fields(of or settings):
        what, value = each.metadata.get("affects"), getattr(settings, each.name)
        if (without and what == without["affects"]) or (only and what != only["affects"]):
            continue
        found[each.name] = content(value, without=without) if is_dataclass(value) else value
    return found
