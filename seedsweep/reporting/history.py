"""history.csv: a row an epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from seedsweep.whole import replacing


def write_history(rows: list[dict[str, float]], path: Path) -> None:
    """Writes the rows so far; the file is replaced whole, so that a killed run leaves no half a line."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "epoch": int(row["epoch"])})


def read_history(path: Path) -> list[dict[str, float]]:
    """Reads the rows; an empty cell is left out.

    Raises:
        OSError: no such file.
        ValueError: damaged.
    """
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
