"""The split that a run, grid or study began with, and whether the images are still the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.data.folder import scan_folder
from seedsweep.data.manifest import Row, read_manifest
from seedsweep.data.walk import LeftOut, walk
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.names import path_of, some


@dataclass(frozen=True)
class Pin:
    """A manifest with which a run goes on: its split and its images."""

    path: Path  # of the manifest
    began: str  # who began with it: "the run in outputs/x began with"
    anew: str  # how to begin with the images as they are now

    @classmethod
    def of_run(cls, folder: Path) -> Pin:
        """Returns the pin of a run that is resumed."""
        anew = "begin a new run (the command without resume=, with another hydra.run.dir)"
        return cls(folder / "manifest.csv", f"the run in {folder} began with", anew)

    @classmethod
    def of_grid(cls, path: Path) -> Pin:
        """Returns the pin that jobs of a grid share."""
        anew = "begin a new grid (the command without resume=, with another hydra.sweep.dir)"
        return cls(path, f"the grid in {path.parent} began with", anew)

    @classmethod
    def of_study(cls, folder: Path) -> Pin:
        """Returns the pin of a study."""
        anew = "begin a new study (another study.name=NAME)"
        return cls(folder / "manifest.csv", f"the study {folder.name} began with", anew)

    @classmethod
    def given(cls, manifest: str) -> Pin:
        """Returns the pin that ``data.manifest`` gives."""
        anew = "make a new split (data.manifest=null)"
        return cls(path_of(manifest), f"data.manifest={manifest} names", anew)

    @property
    def name(self) -> str:
        """The name of the file in messages, where a user gave it."""
        return self.began.removesuffix(" names")

    @property
    def left_out(self) -> Path:
        """The list, beside the manifest, of files that are not used."""
        return self.path.with_name(self.path.name.replace("manifest", "left_out"))

    @property
    def corrections(self) -> Path:
        """The record, beside the manifest, of the corrections that were applied to it; none without any."""
        return self.path.with_name(self.path.name.replace("manifest", "corrections"))

    @property
    def values(self) -> Path:
        """The record, beside the manifest, of how images of more than 8 bits are scaled; none without such images."""
        return values_beside(self.path)

    def summary_of_more(self, names: list[str]) -> str:
        """Returns the line about images that are not among those of the pin."""
        one = len(names) == 1
        return (
            f"{len(names)} {'image is' if one else 'images are'} not among those that {self.began} ({some(names)}): "
            f"left out; to use {'it' if one else 'them'}, {self.anew}"
        )


def values_beside(manifest: Path) -> Path:
    """Returns the file, beside a manifest, that says how its images are scaled."""
    return manifest.with_name(f"{manifest.stem.replace('manifest', 'values')}.json")


def read_pin(pin: Pin, root: Path) -> list[Row]:
    """Reads the rows of a pin; relative paths begin at ``root``.

    Raises:
        RefusedError: the file is damaged.
    """
    try:
        return read_manifest(pin.path, root=root)
    except SeedsweepError as error:
        raise RefusedError(
            f"{error} It names the images that {pin.began}: restore it, or {pin.anew}."
        ) from error


def check_content(pin: Pin, rows: Sequence[Row], root: Path, digests: Sequence[str]) -> None:
    """Compares images with a manifest.

    Args:
        digests: of the files today, as many; "" where a file is missing or can't be read.

    Raises:
        RefusedError: images are missing or have another content; names them, and the ways on.
    """
    kinds: dict[str, list[str]] = {"missing": [], "unreadable": [], "changed in content": []}
    for row, digest in zip(rows, digests, strict=True):
        if not digest:
            kinds["unreadable" if os.path.isfile(Path(root, row.path)) else "missing"].append(row.path)
        elif row.digest not in (None, digest):
            kinds["changed in content"].append(row.path)
    bad = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {what} ({some(names)})"
        for what, names in kinds.items()
        if names
    ]
    if bad:
        raise RefusedError(
            f"the images below {root} are not those that {pin.began}: of {len(rows)}, {', '.join(bad)}; restore them, "
            f"or {pin.anew}."
        )


def unnamed(rows: Sequence[Row], root: Path) -> list[str]:
    """Returns the images below ``root`` that no row names, whatever the folders are called."""
    named = {os.path.normpath(Path(root, row.path)) for row in rows}
    others = [path for path in walk(root, "").images if os.path.normpath(path) not in named]
    if others:  # a row may name a file by a link
        named = {os.path.realpath(path) for path in named}
    return [path.relative_to(root).as_posix() for path in others if os.path.realpath(path) not in named]


def added(rows: Sequence[Row], root: Path, left_out: Sequence[LeftOut]) -> list[str]:
    """Returns the images below ``root`` that no row names and that were not left out."""
    known = {Path(root, row.path) for row in rows} | {each.path for each in left_out}
    try:
        there = [found.path for found in scan_folder(root).found]
    except SeedsweepError:  # emptied, or a folder of a split is gone: what is missing was reported before
        return []
    return [path.relative_to(root).as_posix() for path in there if path not in known]
