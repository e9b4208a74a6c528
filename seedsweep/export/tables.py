"""What predictions are written as: a CSV file, which every program reads, or Parquet, for tables of many images.

Parquet is typed, small, and quickly read by pandas, Polars, DuckDB and Spark. pyarrow writes it, the format's reference
library, which those programs bring or understand.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.errors import SeedsweepError
from seedsweep.names import cell, printable
from seedsweep.whole import replacing

TEXTS = ("path", "predicted")
NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})
ROWS = 8192  # a row group of Parquet: small enough to wait in memory, large enough to be read quickly
Probabilities = NDArray[np.float32]
More = Mapping[str, Sequence[str]]  # further columns by name, a text an image
Add = Callable[..., None]  # (paths, probabilities [B, N]), or (paths, probabilities, More)


def check_table(path: Path) -> None:
    """Raises SeedsweepError where no kind of table has the file's suffix, or its package is missing."""
    if path.suffix.lower() not in KINDS:
        raise SeedsweepError(f"predict.out={path} must end in {' or '.join(KINDS)}.")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise SeedsweepError("Parquet needs pyarrow: pip install 'seedsweep[parquet]', or write a .csv file.")


def open_table(path: Path, classes: Sequence[str], more: Sequence[str] = ()) -> AbstractContextManager[Add]:
    """Opens a table for predictions; it is under ``path``, whole, when the context ends without an error.

    Args:
        path: its suffix says what it is written as.
        more: names of further columns, before the probabilities.

    Returns:
        A context manager that yields ``add(paths, probabilities [B, N], values of the further columns)``.
    """
    return KINDS[path.suffix.lower()](path, classes, more)


def _columns(
    paths: Sequence[str], probabilities: Probabilities, classes: Sequence[str], more: More
) -> dict[str, list[Any]]:
    """Returns path, predicted, confidence, further columns and a ``p_`` column a class, by name."""
    return {
        "path": [printable(path) for path in paths],
        "predicted": [classes[number] for number in probabilities.argmax(1)],
        "confidence": probabilities.max(1).tolist() if len(paths) else [],
        **{name: list(values) for name, values in more.items()},
        **{f"p_{name}": column.tolist() for name, column in zip(classes, probabilities.T, strict=True)},
    }


@contextmanager
def _open_csv(path: Path, classes: Sequence[str], more: Sequence[str]) -> Iterator[Add]:
    """Opens a CSV file; probabilities have six decimals."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, _empty(classes, more)))

        def add(paths: Sequence[str], probabilities: Probabilities, values: More = NOTHING) -> None:
            for row in zip(*_columns(paths, probabilities, classes, values).values(), strict=True):
                writer.writerow(f"{value:.6f}" if isinstance(value, float) else cell(value) for value in row)

        yield add


@contextmanager
def _open_parquet(path: Path, classes: Sequence[str], more: Sequence[str]) -> Iterator[Add]:
    """Opens a Parquet file; probabilities are float32."""
    pa: Any = importlib.import_module("pyarrow")
    pq: Any = importlib.import_module("pyarrow.parquet")
    kinds = {name: pa.string() if name in (*TEXTS, *more) else pa.float32() for name in _empty(classes, more)}
    schema = pa.schema(list(kinds.items()))
    waiting: list[Any] = []
    with replacing(path) as part, pq.ParquetWriter(part, schema) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()

        def add(paths: Sequence[str], probabilities: Probabilities, values: More = NOTHING) -> None:
            waiting.append(pa.table(_columns(paths, probabilities, classes, values), schema=schema))
            if sum(table.num_rows for table in waiting) >= ROWS:
                flush()

        yield add
        flush()


def _empty(classes: Sequence[str], more: Sequence[str]) -> dict[str, list[Any]]:
    return _columns([], np.empty((0, len(classes)), np.float32), classes, {name: [] for name in more})


KINDS = {".csv": _open_csv, ".parquet": _open_parquet}
