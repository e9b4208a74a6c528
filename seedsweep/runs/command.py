"""How this program and its files are named here: what it prints can be pasted as it is."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from seedsweep.overrides import plus, setting

_SIMPLE = re.compile(r"[\w./]([\w ./+@%&#~-]*[\w./])?")
Word = str | tuple[str, object]


def command(*words: Word) -> str:
    """Returns the line that runs seedsweep with ``words``, by the interpreter in use; a shell reads it as it is.

    Args:
        words: an argument each, as it stands, or a pair: a setting and the text or path that it is given, in whose
            name any character may be.
    """
    return by(str(shown(Path(sys.executable))), *words)


def by(program: str, *words: Word) -> str:
    """Returns the line that runs seedsweep with the Python ``program``, for readers on other machines."""
    return f"{shlex.join([program, '-m', 'seedsweep'])} {typed(*words)}"


def typed(*words: Word) -> str:
    """Returns ``words``, see :func:`command`, as one types them into a shell."""
    return shlex.join(word if isinstance(word, str) else _as_typed(word[0], str(word[1])) for word in words)


def _as_typed(key: str, text: str) -> str:
    """Writes a setting as one would type it where the command line understands that, else with Hydra's quotes."""
    return plus(f"{key}={text}") if _SIMPLE.fullmatch(text) and text.lower() != "null" else setting(key, text)


def shown(path: Path) -> Path:
    """Returns ``path`` as messages show it: from the working directory on, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
