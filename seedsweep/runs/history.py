"""history.csv: a row an epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from seedsweep.errors import DamagedError
from seedsweep.names import open_csv
from seedsweep.whole import replacing


def write_history(rows: list[dict[str, float]], path: Path) -> None:
    """Writes the rows so far; the file is replaced whole, so that a killed run leaves no half a line."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as part, open_csv(part, "w") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "epoch": int(row["epoch"])})


def read_history(path: Path) -> list[dict[str, float]]:
    """Reads the rows; an empty cell is left out.

    Raises:
        OSError: no such file.
        DamagedError: a cell is no number, a row is too short or too long, or an epoch is missing.
    """
    rows: list[dict[str, float]] = []
    try:
        with open_csv(path) as file:
            columns, *lines = csv.reader(file)
        rows = [
            {key: float(value) for key, value in zip(columns, line, strict=True) if value} for line in lines
        ]
        whole = [row["epoch"] for row in rows] == list(range(len(rows)))
    except (ValueError, KeyError, csv.Error):
        whole = False
    if not whole:
        raise DamagedError(
            f"{path} is damaged: put back a copy of it, or delete it to go without the curves."
        )
    return rows
