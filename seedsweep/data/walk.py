"""Lists the images below a folder, and the files that are not used, each with its reason."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seedsweep.data.image_formats import content_kind, suffixes, why_not_read
from seedsweep.errors import DamagedError
from seedsweep.names import of_cell, open_csv, printable
from seedsweep.whole import write_csv

log = logging.getLogger(__name__)

LEFT_OUT = "left_out.csv"
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
    """A file or folder that is not used."""

    path: Path  # where it is
    label: str  # its class; "" if it is in no class folder
    what: str  # such as ".heic" or "in @eaDir"; files are counted by it
    why: str = ""  # such as "install seedsweep[heif]"; "" for what a system or program wrote, not a person

    @property
    def expected(self) -> bool:
        """Says whether no warning is needed."""
        return not self.why


def sentences(left_out: Sequence[LeftOut]) -> list[str]:
    """Returns a line for each kind, such as `3 .heic of class a, 2 of class b (install seedsweep[heif])`."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for each in left_out:
        kinds.setdefault((each.what, each.why), Counter())[each.label] += 1
    lines = []
    for (what, why), classes in kinds.items():
        most = classes.most_common(CLASSES)
        named: list[str] = []
        for label, count in most:
            of = f" of class {printable(label)}" if label else ""
            named.append(f"{count}{of}" if named else f"{count} {what}{of}")
        if (rest := len(classes) - CLASSES) > 0:
            others = classes.total() - sum(count for _, count in most)
            named.append(f"{others} of {rest} more {'class' if rest == 1 else 'classes'}")
        lines.append(", ".join(named) + (f" ({why})" if why else ""))
    return lines


def log_left_out(left_out: Sequence[LeftOut]) -> None:
    """Logs what is not used: as a warning unless a system or program wrote it."""
    for line in sentences([each for each in left_out if not each.expected]):
        log.warning("left out: %s", line)
    if expected := [each for each in left_out if each.expected]:
        log.info("left out: %s", "; ".join(sentences(expected)))


def write_left_out(left_out: Sequence[LeftOut], root: Path, path: Path) -> None:
    """Writes a row for each file, with paths relative to ``root``; no file if there are no such files."""
    below = root.as_posix().rstrip("/") + "/"
    rows = ((each.path.as_posix().removeprefix(below), each.label, each.what, each.why) for each in left_out)
    write_csv(path, COLUMNS, rows, may_be_empty=False)


def read_left_out(path: Path, root: Path) -> list[LeftOut]:
    """Reads the list of files below ``root``; none if there is no such file.

    Raises:
        DamagedError: it is no CSV file.
    """
    if not path.is_file():
        return []
    try:
        with open_csv(path) as file:
            rows = [row for row in csv.DictReader(file) if set(COLUMNS) <= set(row)]
    except csv.Error as error:
        raise DamagedError(
            f"{path} is damaged, or no CSV file ({error}): put back a copy of it, or delete it; it lists the files "
            "that are not used."
        ) from error
    cells = ([of_cell(row[name] or "") for name in COLUMNS] for row in rows)
    return [LeftOut(Path(root, name), *rest) for name, *rest in cells]


@dataclass
class Walked:
    """What lies below a folder."""

    # files with the suffix of a format that is read here, sorted folder by folder
    images: list[Path] = field(default_factory=list)
    # what else looks like an image, and what could not be looked at
    left_out: list[LeftOut] = field(default_factory=list)


def walk(folder: Path, label: str = "") -> Walked:
    """Lists the files below ``folder`` at any depth; links are followed, but not back to where they come from."""
    found = Walked()
    real = Path(os.path.realpath(folder))
    _walk(folder, label, {str(real), *map(str, real.parents)}, found)
    return found


def folders_in(folder: Path) -> list[Path]:
    """Lists the folders in ``folder`` that may be classes or splits, sorted."""
    return [Path(each.path) for each in _entries(folder) if _is(each.is_dir) and not _is_ignored(each.name)]


def loose_files(folder: Path) -> Walked:
    """Lists as :func:`walk` does, but only what lies directly in ``folder``; litter and hidden folders as a whole."""
    found = Walked()
    _list(folder, "", found)
    return found


def _walk(folder: Path, label: str, above: set[str], found: Walked) -> None:
    try:
        below = _list(folder, label, found)
    except OSError as error:
        found.left_out.append(LeftOut(folder, label, "folder(s)", f"can't be opened: {error.strerror}"))
        return
    for each in below:
        real = os.path.realpath(each)
        if real in above:
            found.left_out.append(LeftOut(each, label, "link(s)", "it leads back to a folder above it"))
        else:
            _walk(each, label, above | {real}, found)


def _list(folder: Path, label: str, found: Walked) -> list[Path]:
    """Adds what lies directly in a folder; returns the folders in it that may hold more."""
    below = []
    for entry in _entries(folder):
        if not _is(entry.is_dir):
            _file(entry, label, found)
        elif not _is_ignored(entry.name):
            below.append(Path(entry.path))
        else:  # its images are counted
            name = "*.lrdata" if entry.name.lower().endswith(".lrdata") else entry.name
            for base, _, files in os.walk(entry.path):
                found.left_out += (
                    LeftOut(Path(base, each), label, f"image(s) in {name}")
                    for each in sorted(files)
                    if (suffix := _suffix(each)) in suffixes() or why_not_read(suffix)
                )
    return below


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is(question: Callable[[], bool]) -> bool:
    """Asks whether an entry is a file or folder; links in a circle and entries that can't be read are neither."""
    try:
        return question()
    except OSError:
        return False


def _is_ignored(folder: str) -> bool:
    """Says whether a folder of this name is hidden, or filled by systems and programs, not by people."""
    name = folder.lower()
    return name.startswith(".") or name in LITTER_FOLDERS or name.endswith(".lrdata")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _file(entry: os.DirEntry[str], label: str, found: Walked) -> None:
    path, suffix = Path(entry.path), _suffix(entry.name)
    reason = why_not_read(suffix)
    readable = suffix in suffixes()

    def leave_out(what: str, why: str = "") -> None:
        found.left_out.append(LeftOut(path, label, what, why))

    if entry.name.startswith("._"):
        leave_out("._*")
    elif entry.name.lower() in LITTER_FILES:
        leave_out(entry.name)
    elif entry.name.startswith("."):
        if readable or reason:
            leave_out("hidden")
    elif readable and (_is(entry.is_file) or entry.is_symlink()):
        found.images.append(path)  # a link to nothing is reported when it is read
    elif not _is(entry.is_file):
        if entry.is_symlink():
            leave_out("link(s)", "it leads to nothing")
        elif readable or reason or not suffix:
            leave_out("special file(s)", "no regular file: a pipe, socket or device")
    elif reason:
        leave_out(suffix, reason)
    elif kind := content_kind(path):
        named = f"{suffix} that is" if suffix else "without a suffix,"
        leave_out(f"{named} {kind}", "rename it to have the suffix of its format")
