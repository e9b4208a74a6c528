"""Parquet, for tables of many images: typed, small, quickly read by pandas, Polars, DuckDB and Spark.

pyarrow writes it, the format's reference library, which those programs bring or understand; pandas or Polars would
be larger and add nothing here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seedsweep.errors import SeedsweepError
from seedsweep.export.tables.columns import FIXED, Add, Probabilities, columns, names
from seedsweep.whole import replacing

SUFFIX = ".parquet"
ROWS = 8192  # a row group: small enough to wait in memory, large enough to be read quickly


def check() -> None:
    """Raises SeedsweepError unless pyarrow is installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise SeedsweepError("Parquet needs pyarrow: pip install 'seedsweep[parquet]', or write a .csv file.")


@contextmanager
def open_table(path: Path, classes: Sequence[str]) -> Iterator[Add]:
    """Yields what adds rows; probabilities are float32."""
    pa: Any = importlib.import_module("pyarrow")
    pq: Any = importlib.import_module("pyarrow.parquet")
    kinds = {name: pa.string() if name in FIXED[:2] else pa.float32() for name in names(classes)}
    schema = pa.schema(list(kinds.items()))
    waiting: list[Any] = []
    with replacing(path) as part, pq.ParquetWriter(part, schema) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()

        def add(paths: Sequence[str], probabilities: Probabilities) -> None:
            found = columns(paths, probabilities, classes)
            waiting.append(
                pa.table([pa.array(found[name], kind) for name, kind in kinds.items()], schema=schema)
            )
            if sum(table.num_rows for table in waiting) >= ROWS:
                flush()

        yield add
        flush()
