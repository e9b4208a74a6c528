"""Lists the images of a folder, and all other files that a user may take for images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seedsweep.data.formats import kind_of, suffixes, why_not_read
from seedsweep.data.leftout import LeftOut, litter_file, litter_folder


@dataclass
class Walked:
    """What lies below a folder.

    Attributes:
        images: files with the suffix of a format that is read here, sorted folder by folder.
        left_out: what else looks like an image, and what could not be looked at.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def walk(folder: Path, label: str = "") -> Walked:
    """Lists the files below ``folder`` at any depth; links are followed, but not back to where they come from.

    Args:
        folder: to begin with.
        label: the class, for what is left out.
    """
    found = Walked()
    real = Path(os.path.realpath(folder))
    _walk(folder, label, {str(real), *map(str, real.parents)}, found)
    return found


def folders_in(folder: Path) -> list[Path]:
    """Lists the folders in ``folder`` that may be classes or splits, sorted."""
    return [
        Path(entry.path)
        for entry in _entries(folder)
        if _is(entry.is_dir) and not entry.name.startswith(".") and not litter_folder(entry.name)
    ]


def loose_files(folder: Path, label: str = "") -> Walked:
    """Lists as :func:`walk` does, but only what lies directly in ``folder``; litter and hidden folders as a whole."""
    found = Walked()
    for entry in _entries(folder):
        if not _is(entry.is_dir):
            _file(entry, label, found)
        elif entry.name.startswith(".") or litter_folder(entry.name):
            _hidden(entry, label, found)
    return found


def _walk(folder: Path, label: str, above: set[str], found: Walked) -> None:
    below = []
    try:
        entries = _entries(folder)
    except OSError as error:
        found.left_out.append(LeftOut(folder, label, "folder(s)", f"can't be opened: {error.strerror}"))
        return
    for entry in entries:
        if not _is(entry.is_dir):
            _file(entry, label, found)
        elif entry.name.startswith(".") or litter_folder(entry.name):
            _hidden(entry, label, found)
        else:
            below.append(Path(entry.path))
    for each in below:
        real = os.path.realpath(each)
        if real in above:
            found.left_out.append(LeftOut(each, label, "link(s)", "it leads back to a folder above it"))
        else:
            _walk(each, label, above | {real}, found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is(question: Callable[[], bool]) -> bool:
    """Asks whether an entry is a file or folder; links in a circle and entries that can't be read are neither."""
    try:
        return question()
    except OSError:
        return False


def _file(entry: os.DirEntry[str], label: str, found: Walked) -> None:
    path = Path(entry.path)
    suffix = os.path.splitext(entry.name)[1].lower()
    reason = why_not_read(suffix)
    readable = suffix in suffixes()
    if litter_file(entry.name):
        what = "._*" if entry.name.startswith("._") else entry.name
        found.left_out.append(LeftOut(path, label, what))
    elif entry.name.startswith("."):
        if readable or reason:
            found.left_out.append(LeftOut(path, label, "hidden"))
    elif not _is(entry.is_file):
        if entry.is_symlink():  # an image's name leads to nothing: whoever reads it says so
            found.images += [path] if readable else []
            found.left_out += [] if readable else [LeftOut(path, label, "link(s)", "it leads to nothing")]
        elif readable or reason or not suffix:
            found.left_out.append(
                LeftOut(path, label, "special file(s)", "no regular file: a pipe, socket or device")
            )
    elif readable:
        found.images.append(path)
    elif reason:
        found.left_out.append(LeftOut(path, label, suffix, reason))
    elif kind := kind_of(path):
        named = f"{suffix} that is" if suffix else "without a suffix,"
        found.left_out.append(
            LeftOut(path, label, f"{named} {kind}", "rename it to have the suffix of its format")
        )


def _hidden(entry: os.DirEntry[str], label: str, found: Walked) -> None:
    """Counts the images in a folder that is not looked into."""
    name = "*.lrdata" if entry.name.lower().endswith(".lrdata") else entry.name
    for path in _images(entry.path):
        found.left_out.append(LeftOut(path, label, f"image(s) in {name}"))


def _images(folder: str) -> Iterator[Path]:
    for base, _, files in os.walk(folder):
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes() or why_not_read(suffix):
                yield Path(base, name)
