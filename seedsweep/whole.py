"""Files that are there whole or not at all, whenever a process is killed; JSON files read with that in mind."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seedsweep.errors import DamagedError
from seedsweep.names import cell, open_csv


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


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Iterable[Any]],
    *,
    digits: int | None = None,
    may_be_empty: bool = True,
) -> None:
    """Writes a table that people open (see :func:`seedsweep.names.cell`); nothing for None.

    Numbers are written whole, or with ``digits`` behind the point.

    Unless it ``may_be_empty``, no file is left where there are no rows.
    """

    def made(value: Any) -> Any:
        is_rounded = isinstance(value, float) and digits is not None
        return round(value, digits) if is_rounded else cell(value)

    lines = [[made(value) for value in row] for row in rows]
    if not (lines or may_be_empty):
        path.unlink(missing_ok=True)
        return
    with replacing(path) as part, open_csv(part, "w") as file:
        csv.writer(file).writerows([[cell(name) for name in columns], *lines])


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
    """Returns a JSON file's content; nothing if there is no such file.

    Raises:
        DamagedError: it is no JSON, or no dictionary.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DamagedError(f"{path} can't be read ({error.strerror}): {_way_on(path)}.") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged (it is no JSON): {_way_on(path)}.") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path} is damaged (it holds no record): {_way_on(path)}.")
    return content


def _way_on(path: Path) -> str:
    """Says what can be done where a file of ours is damaged."""
    folder = path.parent
    if path.name == "diagnosis.json":
        return "delete it, or diagnose the run again"
    if path.name == "result.json":
        return "call the study again, which writes it anew"
    if path.name == "job.json":  # of a job of a grid, with its settings in .hydra
        return f"delete it and go on with resume={folder.parent}, which writes it anew"
    again = (folder / ".hydra").is_dir() or (folder / "multirun.yaml").is_file()
    return (
        f"delete it and go on with resume={folder}, which writes it anew"
        if again
        else "put back a copy of it"
    )
