"""The bar that shows how far a pass over images is."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def bar(title: str, *further: ProgressColumn) -> Progress:
    """Returns a bar with what is done of how much, ``further`` columns and the time that is left.

    Where nobody watches it writes nothing: a log would get an empty line, which rich writes for a disabled bar, too.
    """
    watched = sys.stdout.isatty()
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), *further, TimeRemainingColumn())
    console = None if watched else Console(quiet=True)
    return Progress(*columns, transient=True, disable=not watched, console=console)
