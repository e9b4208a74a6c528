"""Digests of files that were decoded whole once: they need no second proof that they can be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

NAME = "readable.txt"  # a SHA-256 a line


def known_readable(cache: Path) -> set[str]:
    """Returns the digests written so far; none where there is no cache."""
    try:
        return set((cache / NAME).read_text().split())
    except (OSError, ValueError):
        return set()


def remember_readable(cache: Path, digests: Iterable[str]) -> None:
    """Adds digests. A cache that can't be written costs time, not the run."""
    lines = "".join(f"{digest}\n" for digest in digests)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{NAME}.lock"), (cache / NAME).open("a") as file:
            file.write(lines)
    except OSError as error:
        log.debug("%s: %s", cache / NAME, error)
