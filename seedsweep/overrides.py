"""Text and Hydra's override grammar: what a value means, and how it is written so that it is read back as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# read by Hydra as the text that it is: no number, no keyword, no comma, bracket or quote
_BARE = re.compile(r"(?:[A-Za-z_]|/|\.{1,2}/)[A-Za-z0-9_./+*%@-]*")
_KEYWORDS = ("true", "false", "null", "inf", "nan")
_QUOTED = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.)*\1""", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"


def quoted(text: str) -> str:
    """Puts Hydra's quotes round a text."""
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text)
    return f'"{escaped}"'


def is_quoted(value: str) -> bool:
    """Says whether a value is one text in quotes."""
    return _QUOTED.fullmatch(value) is not None


def text_of(value: str) -> str:
    """Returns the text that a value means: without its quotes, if it has some."""
    if not is_quoted(value):
        return value
    mark, inner = value[0], value[1:-1]
    return re.sub(rf"(\\+)({mark}|\Z)", lambda found: "\\" * (len(found[1]) // 2) + found[2], inner)


def as_text(text: str) -> str:
    """Writes a text as Hydra must have it: bare where that is read as this very text, else in quotes."""
    is_bare = _BARE.fullmatch(text) and text.lower() not in _KEYWORDS
    return text if is_bare else quoted(text)


def written(value: Any) -> str:
    """Writes any value as Hydra's grammar has it: a text, a number, true, null, a list, a dictionary."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value, allow_nan=False)
    if isinstance(value, (str, Path)):
        return as_text(str(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(written, value)) + "]"
    return str(value)


def setting(key: str, value: Any) -> str:
    """Writes an override that gives ``key`` exactly this value, with the + that its group needs."""
    return plus(f"{key}={written(value)}")


def short_setting(key: str, value: Any) -> str:
    """Writes a setting as people type it: ``augment.rotation=20`` for a rotation of 20.0."""
    return setting(key, int(value) if isinstance(value, float) and value.is_integer() else value)


def split(value: str) -> list[str]:
    r"""Splits at the commas outside quotes and brackets; ``\,`` splits nothing, nor does an open bracket."""
    parts, depth, mark, start = [], 0, "", 0
    for place, char in enumerate(value):
        escaped = place > 0 and value[place - 1] == "\\"
        if mark:
            mark = "" if char == mark and not escaped else mark
        elif char in "\"'" and not value[start:place].strip():
            mark = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        elif char == "," and depth == 0 and not escaped:
            parts.append(value[start:place].strip(" \t"))
            start = place + 1
    parts.append(value[start:].strip(" \t") if parts else value[start:])
    return [value] if mark or depth else parts


CONFIG = "config"  # the file that a command line composes, without --config-name
APPENDED = ("experiment", "rung", "sweep", "study")  # groups that conf/config.yaml does not choose from


def plus(override: str) -> str:
    """Returns ``override`` with the + that its group needs."""
    return f"+{override}" if override.split("=")[0] in APPENDED else override


def key_of(override: str) -> str:
    """Returns what an override sets: ``+experiment=a`` gives ``experiment``."""
    return override.partition("=")[0].lstrip("+~")


def merged(*parts: list[str]) -> list[str]:
    """Joins lists of overrides; where a key stands in several, the last one wins (Hydra refuses groups twice)."""
    by_key = {key_of(override): override for part in parts for override in part}
    return list(by_key.values())


def shortened(setting: str) -> str:
    """Returns a setting as a reader wants it: three digits of a number."""
    key, _, value = setting.lstrip("+").partition("=")
    try:
        return f"{key}={int(value)}"
    except ValueError:
        pass
    try:
        return f"{key}={float(value):.3g}"
    except ValueError:
        return f"{key}={value}"
