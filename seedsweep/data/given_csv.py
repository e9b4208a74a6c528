"""Reads a CSV file that a person gives: UTF-8, UTF-16 or Latin-1, separated by commas, semicolons or tabs."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
UTF_8 = "UTF-8"


@dataclass(frozen=True)
class Kind:
    """A kind of file, for sentences."""

    called: str  # such as ``manifest``
    needed: tuple[str, ...]  # columns that its first line must name
    columns: str  # which columns it has: ``the columns path and class, and may have action``
    give: str  # what is given in its place: ``give the manifest.csv of an earlier run``
    other_names: Mapping[str, str] = field(default_factory=dict)  # that columns may have, and their own


@dataclass(frozen=True)
class Line:
    """The cells of a line by column, and its number in the file."""

    cells: dict[str, str]
    number: int

    def refuse_empty(self, columns: Iterable[str], where: str) -> None:
        """Raises SeedsweepError where a cell of ``columns`` is empty; ``where`` begins the sentence."""
        for column in columns:
            if not self.cells[column].strip():
                raise SeedsweepError(f"{where}: the cell {column} is empty.")


def read_csv(path: Path, name: str, kind: Kind, root: Path | None = None) -> list[Line]:
    """Reads the lines of a file that has a column ``path`` among others.

    Args:
        root: where its relative paths begin: of two readings of a file that is no UTF-8, the one is taken whose images
            are there.

    Raises:
        SeedsweepError: no such file, or not of that kind; says which line.
    """
    if not path.is_file():
        raise SeedsweepError(f"{name} is no file; {kind.give}.")
    try:
        texts = _texts(path.read_bytes())
        if any("\0" in text for text in texts.values()):
            raise SeedsweepError(f"{name} is damaged, or no text: it holds zero bytes.")
        read = {encoding: list(_lines(text, name, kind)) for encoding, text in texts.items()}
    except OSError as error:
        raise SeedsweepError(f"{name} can't be read ({error.strerror}).") from error
    except csv.Error as error:
        raise SeedsweepError(f"{name} is damaged, or no CSV file ({error}).") from error
    encoding = next(iter(read))
    if root is not None and len(read) > 1:
        encoding = max(
            read, key=lambda each: sum(os.path.isfile(Path(root, line.cells["path"])) for line in read[each])
        )
    if root is not None:
        if encoding != UTF_8:
            log.info("%s is read as %s", name, encoding)
        if (delimiter := _delimiter(texts[encoding])) != ",":
            log.info("%s: its columns are separated by %s", name, DELIMITERS[delimiter])
    if not read[encoding]:
        raise SeedsweepError(f"{name} has no rows: a {kind.called} has one for each image.")
    return read[encoding]


def _texts(content: bytes) -> dict[str, str]:
    """Returns the content as text, by encoding: one, or two where bytes are no UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return {"UTF-16": content.decode("utf-16", "replace")}
    try:
        return {UTF_8: content.decode("utf-8-sig")}
    except UnicodeDecodeError:  # names of files that are no UTF-8, or a spreadsheet's file
        raw = content.decode("utf-8", "surrogateescape")
        return {
            "bytes that are no UTF-8, as in the names of its files": raw,
            "Latin-1": content.decode("latin-1"),
        }


def _delimiter(text: str) -> str:
    return max(DELIMITERS, key=text.split("\n", 1)[0].count)


def _lines(text: str, name: str, kind: Kind) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    columns = _columns(next(reader, []), name, kind)
    for cells in reader:
        if any(cells):
            if len(cells) != len(columns):
                few = "few" if len(cells) < len(columns) else "many"
                raise SeedsweepError(
                    f"{name}, line {reader.line_num}, has too {few} cells: {len(cells)}, where its first line names "
                    f"{len(columns)} columns (a name with a comma needs quotes)."
                )
            yield Line(dict(zip(columns, cells, strict=True)), reader.line_num)


def read_parquet(path: Path, name: str, kind: Kind) -> list[Line]:
    """Reads the rows of a Parquet file; cells become text, empty where there is no value.

    Raises:
        SeedsweepError: no such file, not of that kind, or pyarrow is not installed.
    """
    if not path.is_file():
        raise SeedsweepError(f"{name} is no file; {kind.give}.")
    if find_spec("pyarrow") is None:
        raise SeedsweepError(
            f"{name}: Parquet needs pyarrow: pip install 'seedsweep[parquet]', or give a .csv file."
        )
    pq: Any = import_module("pyarrow.parquet")
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # what pyarrow raises is one of them
        raise SeedsweepError(f"{name} is damaged, or no Parquet file.") from error
    if not rows:
        raise SeedsweepError(f"{name} has no rows: a {kind.called} has one for each image.")
    columns = _columns([str(column) for column in rows[0]], name, kind)
    texts = (["" if value is None else str(value) for value in row.values()] for row in rows)
    return [Line(dict(zip(columns, cells, strict=True)), n) for n, cells in enumerate(texts, 1)]


def _columns(first: list[str], name: str, kind: Kind) -> list[str]:
    """Returns the columns' own names.

    Raises:
        SeedsweepError: one is missing.
    """
    columns = [cell.strip().lower() for cell in first]
    own = [kind.other_names.get(column, column) for column in columns]
    columns = [given if column in columns else column for given, column in zip(columns, own, strict=True)]
    if lacking := [column for column in kind.needed if column not in columns]:
        raise SeedsweepError(
            f"{name} is no {kind.called}: its first line lacks {', '.join(lacking)}; a {kind.called} has "
            f"{kind.columns}."
        )
    return columns
