"""Config groups that conf/config.yaml does not choose from, so that Hydra wants a + before them."""

from __future__ import annotations

APPENDED = ("experiment", "rung", "sweep", "study")


def plus(override: str) -> str:
    """Returns ``override`` with the + that its group needs."""
    return f"+{override}" if override.split("=")[0] in APPENDED else override


def key_of(override: str) -> str:
    """Returns what an override sets: ``+experiment=a`` gives ``experiment``."""
    return override.partition("=")[0].lstrip("+~")
