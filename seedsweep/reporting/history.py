"""history.csv: a row an epoch."""

from __future__ import annotations

import csv
import os
from pathlib import Path


def write_history(rows: list[dict[str, float]], path: Path) -> None:
    """Writes the rows so far; the file is replaced whole, so that a killed run leaves no half a line."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "epoch": int(row["epoch"])})
    os.replace(part, path)
