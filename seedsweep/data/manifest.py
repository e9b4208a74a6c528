"""The table of a run's images, and manifest.csv: path, class, split, group and digest of each image."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.folder import SPLIT_NAMES
from seedsweep.data.given_csv import Kind, Line, read_csv
from seedsweep.errors import SeedsweepError
from seedsweep.names import open_csv, some
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
COLUMNS = ("path", "class", "split", "group", "digest")
KIND = Kind(
    "manifest",
    ("path", "class", "split"),
    "the columns path, class, split, and may have group and digest",
    "give the manifest.csv of an earlier run",
)


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

    def part(self, rows: Sequence[int]) -> ImageTable:
        """Returns the table of some rows, in their order."""
        at = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            labels=self.labels[at],
            splits=self.splits[at],
            groups=[self.groups[row] for row in rows],
            digests=[self.digests[row] for row in rows],
        )

    def names(self) -> list[str]:
        """Returns each path as it is written in a manifest."""
        return [self.name_of(path) for path in self.paths]

    def name_of(self, path: Path) -> str:
        """Returns a path as it is written in a manifest: relative to ``root`` where it lies below it."""
        return path.as_posix().removeprefix(self._below)

    @cached_property
    def _below(self) -> str:
        return self.root.as_posix().rstrip("/") + "/"  # as text: a study asks for names for each trial

    def split_digest(self) -> str:
        """Returns the SHA-256, in hex, of which file is of which class and in which split; the order doesn't count."""
        return self._digests[0]

    def images_digest(self) -> str:
        """Returns the SHA-256, in hex, of the content of all files by name; the order doesn't count."""
        return self._digests[1]

    @cached_property
    def _digests(self) -> tuple[str, str]:
        """Returns the digests of the split and of the images; each trial of a study asks for both."""
        labels = [self.classes[label] for label in self.labels.tolist()]
        split = zip(self.names(), labels, self.splits.tolist(), strict=True)
        return _digest_of(split), _digest_of(zip(self.names(), self.digests, strict=True))


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


@dataclass(frozen=True)
class Row:
    """A row of a manifest, or of a table of images, which may leave ``split`` empty.

    ``group`` and ``digest`` are None where the file has none.
    """

    path: str
    label: str
    split: str
    group: str | None
    digest: str | None
    line: int


def read_manifest(path: Path, name: str | None = None, root: Path | None = None) -> list[Row]:
    """Reads a manifest's rows: UTF-8, UTF-16 or Latin-1, separated by commas, semicolons or tabs.

    Args:
        root: where its relative paths begin: of two readings of a file that is no UTF-8, the one is taken whose images
            are there.

    Raises:
        SeedsweepError: no such file, or not a manifest; says which line.
    """
    name = name or str(path)
    return rows_of(read_csv(path, name, KIND, root), name, KIND)


def rows_of(lines: Sequence[Line], name: str, kind: Kind) -> list[Row]:
    """Returns the rows that lines of a file hold.

    Args:
        kind: of the file; its second column is the class.

    Raises:
        SeedsweepError: a cell that must not be empty is, or a split is none.
    """
    return [_row(line, f"{name}, line {line.number}", kind) for line in lines]


def _row(line: Line, where: str, kind: Kind) -> Row:
    line.refuse_empty(kind.needed, where)
    cell, label = line.cells, kind.needed[1]
    given = cell.get("split", "").strip().lower()
    split = next((split for split, names in SPLIT_NAMES.items() if given in names), "")
    if given and not split:
        raise SeedsweepError(f"{where}: {cell['split']} is no split; it must be one of {', '.join(SPLITS)}.")
    digest = (cell.get("digest") or "").strip().lower() or None
    return Row(cell["path"], cell[label], split, cell.get("group") or None, digest, line.number)


def check_manifest(rows: list[Row], root: Path, name: str) -> None:
    """Checks a manifest that a user gives.

    Raises:
        SeedsweepError: an image stands in two rows, a relative path leaves ``root``, a class of validation or test has
            no training image, or two classes differ by spaces alone (a typing error is likelier than two such classes).
    """
    trained = {row.label for row in rows if row.split in ("train", "")}
    # two links to one file: a run's own manifest has them where its folder has, and the run went with them
    by_run = all(row.group and row.digest for row in rows)
    outside = []
    of_class: dict[str, Row] = {}
    of_file: dict[str, Row] = {}
    for row in rows:
        other = of_class.setdefault(row.label.strip(), row)
        if other.label != row.label:
            raise SeedsweepError(
                f'{name}: the classes "{other.label}" (line {other.line}) and "{row.label}" (line {row.line}) differ '
                "by spaces around the name alone: write one name in all its rows."
            )
    for row in rows:
        where, path = f"{name}, line {row.line}", os.path.normpath(Path(root, row.path))
        if not Path(path).is_relative_to(root):
            if not os.path.isabs(row.path):
                raise SeedsweepError(
                    f"{where}: {row.path} leads out of data.root={root}; give its absolute path if it is meant."
                )
            outside.append(row.path)
        other = of_file.setdefault(path if by_run else os.path.realpath(path), row)
        if other is not row:
            same = "" if other.path == row.path else f", as {other.path}"
            twice = f"in {other.split} and in {row.split}" if other.split != row.split else "twice"
            raise SeedsweepError(
                f"{name}: {row.path} stands {twice}: in line {row.line}, and in line {other.line}{same}."
            )
        if row.label not in trained:
            raise SeedsweepError(f"{where}: no row gives the class {row.label} a training image.")
    if outside:
        images = "image" if len(outside) == 1 else "images"
        log.info("%s names %d %s outside data.root=%s (%s)", name, len(outside), images, root, some(outside))


def warn_of_copies(rows: list[Row], digests: list[str], name: str) -> None:
    """Warns of images in different splits that have the same content, byte for byte.

    Args:
        digests: of the files today, as many; "" where a file can't be read.
    """
    first: dict[str, Row] = {}
    pairs = []
    for row, digest in zip(rows, digests, strict=True):
        if digest and (other := first.setdefault(digest, row)).split != row.split:
            pairs.append(f"{other.path} in {other.split} and {row.path} in {row.split}")
    if pairs:
        log.warning(
            "%s has the same image, byte for byte, in two splits %d %s (%s): scores of these do not tell how a model "
            "does on new images",
            name, len(pairs), "time" if len(pairs) == 1 else "times", some(pairs, between="; "),
        )  # fmt: skip
