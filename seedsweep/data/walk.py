"""Lists the images below a folder, and the files that are not used, each with its reason."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seedsweep.data.image_formats import kind_of, suffixes, why_not_read
from seedsweep.errors import DamagedError
from seedsweep.names import cell, of_cell, open_csv, printable
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

NAME = "left_out.csv"
COLUMNS = ("path", "class", "what", "why")
CLASSES = 5  # that a sentence names
LITTER_FOLDERS = frozenset({
    "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", ".appledouble", ".git", ".ipynb_checkpoints",
    ".picasaoriginals", ".thumbnails", ".trash", ".trashes", "__macosx", "__pycache__", "$recycle.bin",
    "lost+found", "system volume information",
})  # fmt: skip
LITTER_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r", ".picasa.ini"})


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not used.

    Attributes:
        path: where it is.
        label: its class; "" if it is in no class folder.
        what: such as ".heic" or "in @eaDir"; files are counted by it.
        why: such as "install seedsweep[heif]"; "" for what a system or program wrote, not a person.
    """

    path: Path
    label: str
    what: str
    why: str = ""

    @property
    def expected(self) -> bool:
        """Says whether no warning is needed."""
        return not self.why


def litter_folder(name: str) -> bool:
    """Says whether systems and programs, not people, fill folders of this name."""
    return name.lower() in LITTER_FOLDERS or name.lower().endswith(".lrdata")


def litter_file(name: str) -> bool:
    """Says whether systems write files of this name beside a person's own."""
    return name.lower() in LITTER_FILES or name.startswith("._")


def sentences(left_out: Sequence[LeftOut]) -> list[str]:
    """Returns a line for each kind, such as `3 .heic of class a, 2 of class b (install seedsweep[heif])`."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for each in left_out:
        kinds.setdefault((each.what, each.why), Counter())[each.label] += 1
    return [_line(what, why, classes) for (what, why), classes in kinds.items()]


def _line(what: str, why: str, classes: Counter[str]) -> str:
    named = [
        f"{count} {what if place == 0 else ''}".rstrip() + (f" of class {printable(label)}" if label else "")
        for place, (label, count) in enumerate(classes.most_common(CLASSES))
    ]
    if (rest := len(classes) - CLASSES) > 0:
        others = sum(classes.values()) - sum(count for _, count in classes.most_common(CLASSES))
        named.append(f"{others} of {rest} more {'class' if rest == 1 else 'classes'}")
    return ", ".join(named) + (f" ({why})" if why else "")


def log_left_out(left_out: Sequence[LeftOut]) -> None:
    """Logs what is not used: as a warning unless a system or program wrote it."""
    for line in sentences([each for each in left_out if not each.expected]):
        log.warning("left out: %s", line)
    if expected := [each for each in left_out if each.expected]:
        log.info("left out: %s", "; ".join(sentences(expected)))


def write_left_out(left_out: Sequence[LeftOut], root: Path, path: Path) -> None:
    """Writes a row for each file, with paths relative to ``root``; no file if there are no such files."""
    if not left_out:
        path.unlink(missing_ok=True)
        return
    below = root.as_posix().rstrip("/") + "/"
    with replacing(path) as part, open_csv(part, "w") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(
            map(cell, (each.path.as_posix().removeprefix(below), each.label, each.what, each.why))
            for each in left_out
        )


def read_left_out(path: Path, root: Path) -> list[LeftOut]:
    """Reads the list of files below ``root``; none if there is no such file.

    Raises:
        DamagedError: it is no CSV file.
    """
    if not path.is_file():
        return []
    try:
        with open_csv(path) as file:
            return [
                LeftOut(
                    Path(root, of_cell(row["path"] or "")),
                    *(of_cell(row[name] or "") for name in COLUMNS[1:]),
                )
                for row in csv.DictReader(file)
                if set(COLUMNS) <= set(row)
            ]
    except csv.Error as error:
        raise DamagedError(
            f"{path} is damaged, or no CSV file ({error}): put back a copy of it, or delete it; it lists the files "
            "that are not used."
        ) from error


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
