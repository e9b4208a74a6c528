"""CSV: no package is needed, every program reads it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seedsweep.export.tables.columns import Add, Probabilities, columns, names
from seedsweep.names import cell
from seedsweep.whole import replacing

SUFFIX = ".csv"


def check() -> None:
    """Nothing can be missing."""


@contextmanager
def open_table(path: Path, classes: Sequence[str]) -> Iterator[Add]:
    """Yields what adds rows; probabilities have six decimals."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, names(classes)))

        def add(paths: Sequence[str], probabilities: Probabilities) -> None:
            rows = zip(*columns(paths, probabilities, classes).values(), strict=True)
            writer.writerows(
                [f"{value:.6f}" if isinstance(value, float) else cell(value) for value in row] for row in rows
            )

        yield add
