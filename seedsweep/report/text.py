"""How numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from seedsweep.stats.interval import Interval

DASH = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """Returns 0.8834 as ``88.3``; a dash for what is not known."""
    if share is None or math.isnan(share):
        return DASH
    return f"{100 * share:.{digits}f}"


def with_sign(value: float) -> str:
    """Returns a difference in points, 0.048 as ``+4.8``."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def span(interval: Interval) -> str:
    """Returns ``80.4–94.1``."""
    return f"{percent(interval.low)}{DASH}{percent(interval.high)}"


def p_value(p: float) -> str:
    """Returns ``p < 0.001`` or ``p = 0.03``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.3f}"


def listed(words: Sequence[str]) -> str:
    """Returns ``a``, ``a and b``, or ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def code(words: Iterable[str]) -> list[str]:
    """Sets words as code."""
    return [f"`{word}`" for word in words]


def short(setting: str) -> str:
    """Returns an override with three digits of its number, ``optim.lr=0.00084064`` as ``optim.lr=0.000841``."""
    key, equals, value = setting.partition("=")
    try:
        return f"{key}={float(value):.3g}" if equals and "." in value else setting
    except ValueError:
        return setting


def seconds(value: float) -> str:
    """Returns ``42 s`` or ``3 min 12 s``."""
    whole = round(value)
    return (
        f"{value:.1f} s"
        if value < 10
        else f"{whole} s"
        if whole < 100
        else f"{whole // 60} min {whole % 60} s"
    )
