"""predictions.csv: a row an image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from seedsweep.names import open_csv


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes path, split, label, predicted and a probability a class (``p_<class>``)."""
    with open_csv(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows([f"{v:.6f}" if isinstance(v, float) else v for v in row.values()] for row in rows)
