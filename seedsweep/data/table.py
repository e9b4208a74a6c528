"""The table of images, in memory and as manifest.csv; a row has path, class, split, group and digest."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.names import open_csv
from seedsweep.whole import replacing

SPLITS = ("train", "val", "test")
COLUMNS = ("path", "class", "split", "group", "digest")


@dataclass
class ImageTable:
    """All images of a run.

    ``labels`` is int64 [N], ``splits`` a string array [N] of train, val, test; the lists are as long.
    """

    root: Path
    classes: list[str]
    paths: list[Path]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    groups: list[str]
    digests: list[str]

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the rows of a split."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of images for each split and class."""
        return {
            split: {
                name: int(((self.splits == split) & (self.labels == label)).sum())
                for label, name in enumerate(self.classes)
            }
            for split in SPLITS
        }

    def names(self) -> list[str]:
        """Returns each path as it is written in a manifest: relative to ``root`` where it lies below it."""
        below = self.root.as_posix().rstrip("/") + "/"  # as text: a study asks for this for each trial
        return [path.as_posix().removeprefix(below) for path in self.paths]

    def split_digest(self) -> str:
        """Returns the SHA-256, in hex, of which file is of which class and in which split; the order doesn't count."""
        return self._digests[0]

    def images_digest(self) -> str:
        """Returns the SHA-256, in hex, of the content of all files by name; the order doesn't count."""
        return self._digests[1]

    @cached_property
    def _digests(self) -> tuple[str, str]:
        """The digests of the split and of the images; each trial of a study asks for both."""
        names = self.names()
        labels = (self.classes[label] for label in self.labels.tolist())
        return (
            _digest_of(zip(names, labels, self.splits.tolist(), strict=True)),
            _digest_of(zip(names, self.digests, strict=True)),
        )


def _digest_of(rows: Iterable[tuple[str, ...]]) -> str:
    lines = sorted("\0".join(row) for row in rows)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def write_manifest(table: ImageTable, path: Path) -> None:
    """Writes the split; ``data.manifest=FILE`` uses it again."""
    with replacing(path) as part, open_csv(part, "w") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        labels = [table.classes[label] for label in table.labels.tolist()]
        columns = table.names(), labels, table.splits.tolist(), table.groups, table.digests
        writer.writerows(zip(*columns, strict=True))


def write_manifest_once(table: ImageTable, path: Path) -> bool:
    """Writes the split unless the file exists; returns False if it does, and leaves it as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f"{path.name}.{os.getpid()}.mine")
    try:
        write_manifest(table, mine)
        try:
            os.link(mine, path)  # unlike a rename, it never replaces
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            os.replace(mine, path)
        return True
    finally:
        mine.unlink(missing_ok=True)
