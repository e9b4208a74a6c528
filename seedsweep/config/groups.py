"""Overrides as text: what they set, the + that some groups need, and how a reader wants them."""

from __future__ import annotations

APPENDED = ("experiment", "rung", "sweep", "study")  # groups that conf/config.yaml does not choose from


def plus(override: str) -> str:
    """Returns ``override`` with the + that its group needs."""
    return f"+{override}" if override.split("=")[0] in APPENDED else override


def key_of(override: str) -> str:
    """Returns what an override sets: ``+experiment=a`` gives ``experiment``."""
    return override.partition("=")[0].lstrip("+~")


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
