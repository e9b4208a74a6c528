"""Names of files and folders as text: disks hold bytes, and several forms of one letter."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

SHOWN = 3  # of many names, in a sentence
_FORMULA = re.compile(r"[=+\-@\t\r']")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def printable(name: str) -> str:
    r"""Returns a file's name as text that every file and terminal takes; bytes that are no UTF-8 become ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def some(names: Sequence[str], most: int = SHOWN, between: str = ", ") -> str:
    """Returns the first few names as :func:`printable` text, and ``...`` if there are more."""
    return between.join([*map(printable, names[:most]), *["..."] * (len(names) > most)])


def and_more(names: Sequence[str], most: int = SHOWN) -> str:
    """Returns the first few of the names for a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def one_form(name: str) -> str:
    """Returns a name in Unicode's composed form (NFC): Macs write é as two characters, other systems as one."""
    return unicodedata.normalize("NFC", name)


def class_of(folder: str) -> str:
    """Returns the name of the class that a folder holds: one for both forms of Unicode, and always valid text."""
    return one_form(printable(folder))


def open_csv(path: Path, mode: str = "r") -> IO[str]:
    """Opens a CSV file as UTF-8; bytes of names that are none are written, and read, as they are."""
    return path.open(mode, newline="", encoding="utf-8", errors="surrogateescape")


def cell(value: Any) -> Any:
    """Returns a value for a CSV file that people open: a text that a spreadsheet would take for a formula gets a ``'``.

    So does a text that begins with one, so that :func:`of_cell` gives each text back. Numbers stay.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def of_cell(text: str) -> str:
    """Returns the text that :func:`cell` wrote."""
    return text.removeprefix("'")


def conf_dir() -> Path:
    """Returns the folder of the YAML files, absolute: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def path_of(text: str) -> Path:
    """Returns the path that a setting names: ``~/`` is the user's home; a name that merely begins with ~ stays."""
    return Path(os.path.expanduser(text))
