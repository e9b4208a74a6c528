"""How this program is called here: commands that it prints can be pasted as they are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command(*words: str) -> str:
    """Returns the line that runs seedsweep with ``words``, by the interpreter in use."""
    python, here = Path(sys.executable), Path.cwd()
    shown = python.relative_to(here) if python.is_relative_to(here) else python
    return shlex.join([str(shown), "-m", "seedsweep", *words])
