"""Some cases of a test in every run, and all of them with ``-m slow``."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], fast: Collection[Any] | Callable[[Any], bool]) -> list[Any]:
    """Returns the cases as parameters; those that are not ``fast`` are marked as slow.

    Args:
        cases: one value each.
        fast: those that run in every suite, or what tells them.
    """
    tells = fast if callable(fast) else fast.__contains__
    return [case if tells(case) else pytest.param(case, marks=pytest.mark.slow) for case in cases]
