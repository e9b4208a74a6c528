"""Backbones with code of their own: each file here is a choice of ``backbone=``, and has ``SOURCE`` and ``build()``."""

from __future__ import annotations

import pkgutil


def names() -> list[str]:
    """Returns the backbones that have a file here; none of them is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
