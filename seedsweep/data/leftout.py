"""Lists the files that are not used, each with its reason."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
