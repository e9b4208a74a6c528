"""Files that are there whole or not at all, whenever a process is killed; JSON files read with that in mind."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields where to write; at the end of the block that file takes the place of ``path``.

    If the block fails, ``path`` stays as it was and nothing is left behind.

    Args:
        path: of the file.
        durable: the content is on the disk before it takes that place, so that a loss of power leaves no empty file.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(part)):  # a full disk names none
            error.filename = str(path)
        raise


def strict(content: Any) -> Any:
    """Returns ``content`` with None in the place of each NaN and infinity, which JSON has no words for (RFC 8259)."""
    if isinstance(content, dict):
        return {key: strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [strict(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes ``content``, indented; numbers that are none become null."""
    with replacing(path) as part:
        part.write_text(json.dumps(strict(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON file's content; nothing if it is missing, damaged, or no dictionary."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
