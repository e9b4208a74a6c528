"""predictions.csv: a row an image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from seedsweep.names import cell, open_csv
from seedsweep.whole import replacing


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes path, split, label, predicted and a probability a class (``p_<class>``)."""
    with replacing(path) as part, open_csv(part, "w") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, rows[0]))
        writer.writerows(
            [f"{v:.6f}" if isinstance(v, float) else cell(v) for v in row.values()] for row in rows
        )
