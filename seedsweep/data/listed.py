"""Images that a table lists: ``data=table data.file=labels.csv``."""

from __future__ import annotations

import os
from pathlib import Path

from seedsweep.data.given_csv import Kind, read_csv, read_parquet
from seedsweep.data.manifest import Row, check_manifest, rows_of
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

KIND = Kind(
    "table of images",
    ("path", "label"),
    "the columns path and label, and may have split and group",
    "give a CSV or Parquet file",
    {
        **dict.fromkeys(("file", "filename", "file_name", "image", "image_path", "filepath"), "path"),
        **dict.fromkeys(("class", "category", "target", "class_name"), "label"),
    },
)


def read_listed(setting: str, root: Path) -> list[Row]:
    """Reads the images of a table, one a row; ``split`` is empty where the table has none.

    Raises:
        SeedsweepError: no such file, or a mistake in it; says which row.
    """
    name, path = f"data.file={setting}", path_of(setting)
    is_parquet = path.suffix.lower() == ".parquet"
    lines = read_parquet(path, name, KIND) if is_parquet else read_csv(path, name, KIND, root)
    rows = rows_of(lines, name, KIND)
    without = [row for row in rows if not row.split]
    if without and len(without) < len(rows):
        raise SeedsweepError(
            f"{name}, line {without[0].line}: the cell split is empty, where other rows have one: fill in all or none."
        )
    check_manifest(rows, root, name)
    if lost := [row for row in rows if not os.path.exists(Path(root, row.path))]:
        raise SeedsweepError(
            f"{name}, line {lost[0].line}: there is no file {lost[0].path} below {root} ({len(lost)} of {len(rows)} "
            "rows name none): put the images there, or give their folder with data.root=DIR."
        )
    return rows
