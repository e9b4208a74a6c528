"""How this program and its files are named here: what it prints can be pasted as it is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from seedsweep.config.grammar import setting

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
    arguments = [word if isinstance(word, str) else setting(*word) for word in words]
    return shlex.join([program, "-m", "seedsweep", *arguments])


def shown(path: Path) -> Path:
    """Returns ``path`` as it is best told: from the working directory on, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
