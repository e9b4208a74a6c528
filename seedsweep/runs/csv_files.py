"""Writes and reads a run's CSV files: history.csv, a row an epoch, and predictions.csv, a row an image."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.manifest import read_manifest
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.names import cell, of_cell, open_csv
from seedsweep.stats.interval import Interval, over_images
from seedsweep.stats.ranking import accuracy
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

HELD_OUT = ("val", "test")


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


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes path, split, label, predicted and a probability a class (``p_<class>``)."""
    with replacing(path) as part, open_csv(part, "w") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, rows[0]))
        writer.writerows(
            [f"{v:.6f}" if isinstance(v, float) else cell(v) for v in row.values()] for row in rows
        )


def add_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Adds the rows of another split in the place of those that it has of it; does nothing without a file."""
    if not path.is_file():
        return
    with open_csv(path) as file:
        kept = [row for row in csv.DictReader(file) if row["split"] != rows[0]["split"]]
    write_predictions(path, [{key: of_cell(value) for key, value in row.items()} for row in kept] + rows)


@dataclass
class Predictions:
    """The predictions of a run for the images of one split."""

    classes: list[str]  # names, in the order of the numbers
    paths: list[str]  # [N]
    labels: NDArray[np.int64]  # [N] class numbers
    predicted: NDArray[np.int64]  # [N] class numbers
    probabilities: NDArray[np.float64]  # [N, C]
    # [N] names of what is drawn together; None: every image is its own
    groups: NDArray[np.str_] | None = None

    @property
    def correct(self) -> NDArray[np.float64]:
        """Returns [N], 1 where the image is classified correctly and 0 elsewhere."""
        return np.asarray(self.labels == self.predicted, dtype=float)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Returns the bootstrap intervals of ``acc`` and ``macro_f1`` over these images."""
        return over_images(self.labels, self.predicted, self.groups)


def accuracy_of(runs: Sequence[Predictions | None]) -> Interval | None:
    """Returns the accuracy of runs of one setting, over images and seeds.

    Args:
        runs: their answers to the same images; None: those of a run are missing.

    Returns:
        None where answers are missing, or their numbers differ.
    """
    known = [each for each in runs if each is not None]
    if not known or len(known) < len(runs) or len({len(each.paths) for each in known}) > 1:
        return None
    return accuracy(np.stack([each.correct for each in known]), known[0].groups)


def read_predictions(run_dir: Path, splits: tuple[str, ...] = HELD_OUT) -> dict[str, Predictions]:
    """Returns the predictions by split; empty where the run wrote none, or the file is damaged, which is said."""
    rows: dict[str, list[list[str]]] = {split: [] for split in splits}
    try:
        with open_csv(run_dir / "predictions.csv") as file:
            reader = csv.reader(file)
            columns = next(reader)
            split_at = columns.index("split")
            for row in (list(map(of_cell, cells)) for cells in reader):
                if len(row) != len(columns):
                    raise ValueError(f"line {reader.line_num} has {len(row)} cells")
                if row[split_at] in rows:
                    rows[row[split_at]].append(row)
        groups = _groups(run_dir / "manifest.csv")
        return {split: _answers(columns, part, groups.get(split)) for split, part in rows.items() if part}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, StopIteration, csv.Error) as error:
        log.warning(
            "%s/predictions.csv is damaged (%s): intervals and mistakes of this run are left out",
            run_dir,
            error,
        )
        return {}


def _answers(columns: list[str], rows: list[list[str]], groups: list[str] | None) -> Predictions:
    first = next(place for place, name in enumerate(columns) if name.startswith("p_"))
    classes = [name.removeprefix("p_") for name in columns[first:]]
    number = {name: place for place, name in enumerate(classes)}
    at = {name: columns.index(name) for name in ("path", "label", "predicted")}
    probabilities = np.array([row[first:] for row in rows], dtype=float)
    if (
        (probabilities < 0) | (probabilities > 1)
    ).any():  # NaN: of an earlier version, whose training diverged
        raise ValueError("a probability below 0 or above 1")
    if groups is not None and len(groups) != len(rows):
        raise ValueError(f"{len(rows)} rows for {len(groups)} images")
    grouped = groups is not None and len(set(groups)) < len(rows)
    return Predictions(
        classes=classes,
        paths=[row[at["path"]] for row in rows],
        labels=np.array([number[row[at["label"]]] for row in rows]),
        predicted=np.array([number[row[at["predicted"]]] for row in rows]),
        probabilities=probabilities,
        groups=np.array(groups) if grouped else None,
    )


def _groups(manifest: Path) -> dict[str, list[str]]:
    """Returns the groups by split, in the order of the table, which predictions.csv has too."""
    try:
        rows = read_manifest(manifest)
    except SeedsweepError:
        return {}
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.split, []).append(row.group or row.path)
    return found
