"""How this program and its files are named here: what it prints can be pasted as it is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command(*words: str) -> str:
    """Returns the line that runs seedsweep with ``words``, by the interpreter in use."""
    return shlex.join([str(shown(Path(sys.executable))), "-m", "seedsweep", *words])


def shown(path: Path) -> Path:
    """Returns ``path`` as it is best told: from the working directory on, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
