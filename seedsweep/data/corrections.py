"""Labels that a person corrected: ``data.corrections`` is read, checked and applied. No image is touched."""

from __future__ import annotations

import difflib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedsweep.data.given_csv import Kind, Line, read_csv
from seedsweep.data.manifest import ImageTable, Row
from seedsweep.data.pin import Pin
from seedsweep.data.walk import LeftOut
from seedsweep.digest import digest_of
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.names import of_cell, one_form, path_of, printable, some
from seedsweep.whole import write_csv

if TYPE_CHECKING:
    from seedsweep.data.pixels import Pixels  # PyTorch takes seconds

log = logging.getLogger(__name__)

CHANGE, KEEP, LEAVE_OUT = ACTIONS = ("change", "keep", "leave out")
KIND = Kind(
    "list of corrections",
    ("path", "class"),
    "the columns path and class, and may have action",
    "give the corrections.csv that review.html saved",
)
WHY = "left out by data.corrections"


@dataclass(frozen=True)
class Correction:
    """A line of the file."""

    path: str  # of the image, below data.root
    label: str  # the right class; empty where the image is left out
    action: str  # change | keep | leave out
    digest: str = ""  # SHA-256 of the file that was looked at; empty: not known
    line: int = 0  # its number
    was: str = ""  # the class before; this and the rest are empty until the correction is applied
    split: str = ""  # where the image was
    group: str = ""  # of the image
    source: str = ""  # SHA-256 of the file of corrections

    @property
    def is_out(self) -> bool:
        """Whether it leaves out an image that would be used."""
        return bool(self.was) and self.action == LEAVE_OUT


@dataclass(frozen=True)
class Corrected:
    """What corrections did to the images of a run."""

    corrections: list[Correction]  # as they were applied
    before: ImageTable  # the table of a run without them, split alike
    pixels: Pixels  # of ``before``

    @property
    def source(self) -> str:
        """SHA-256 of the file."""
        return self.corrections[0].source

    @property
    def counts(self) -> dict[str, int]:
        """How many images were changed, left out and kept; those that no run uses are in none."""
        kinds = Counter(_what(each) for each in self.corrections if each.was)
        return {
            name: kinds[action] for name, action in zip(("changed", "kept", "left_out"), ACTIONS, strict=True)
        }

    @property
    def is_whole(self) -> bool:
        """Whether all images that were left out are still there."""
        return all(os.path.isfile(self.before.root / each.path) for each in self.corrections if each.is_out)


def told(changed: int, kept: int, left_out: int) -> str:
    """Returns the numbers of corrections for a sentence."""
    labels, images = "label" if changed == 1 else "labels", "image" if left_out == 1 else "images"
    return f"{changed} {labels} changed, {left_out} {images} left out, {kept} confirmed"


def _what(correction: Correction) -> str:
    if correction.action == LEAVE_OUT:
        return LEAVE_OUT
    return KEEP if correction.label == correction.was else CHANGE


def read_given(setting: str, root: Path, pin: Pin | None) -> list[Correction]:
    """Reads the corrections that a run is given, or, with a pin, those that it began with.

    Raises:
        SeedsweepError: no such file, or a mistake in it; says which line.
        RefusedError: the file is not what it was when the run began.
    """
    name, path = f"data.corrections={setting}", path_of(setting)
    if pin is None:
        return read_corrections(path, name, root)
    if not pin.corrections.is_file():
        raise RefusedError(
            f"{pin.corrections} is missing, which holds the corrections that {pin.began}: put back a copy of it, or "
            f"{pin.anew}."
        )
    begun = read_corrections(pin.corrections, str(pin.corrections), root)
    if path.is_file() and digest_of(path) != begun[0].source:
        raise RefusedError(f"{name} is not what {pin.began}: restore it, or {pin.anew}.")
    return begun


def read_corrections(path: Path, name: str, root: Path) -> list[Correction]:
    """Reads a file of corrections, in any encoding that a manifest may have.

    Raises:
        SeedsweepError: no such file, or a mistake in it; says which line.
    """
    lines = read_csv(path, name, KIND, root)
    source = digest_of(path)
    return [_correction(line, f"{name}, line {line.number}", source) for line in lines]


def _correction(line: Line, where: str, source: str) -> Correction:
    text = {key: of_cell(value) for key, value in line.cells.items()}
    action = text.get("action", "").strip().lower().replace("_", " ") or CHANGE
    if action not in ACTIONS:
        raise SeedsweepError(
            f"{where}: {text['action']} is no action; it must be one of {', '.join(ACTIONS)}."
        )
    line.refuse_empty(["path"], where)
    if action != LEAVE_OUT and not text["class"].strip():
        raise SeedsweepError(
            f"{where}: the cell class is empty: name the right class, or write the action leave out."
        )
    label = "" if action == LEAVE_OUT else text["class"]
    found = Correction(text["path"], label, action, text.get("digest", ""), line.number, source=source)
    if "source" not in text:
        return found
    was, split, group = (text.get(key, "") for key in ("was", "split", "group"))  # of a run's own record
    return replace(found, was=was, split=split, group=group, source=text["source"])


def write_corrections(corrected: Corrected | None, path: Path) -> None:
    """Writes the corrections as they were applied: a run goes on with them; no file if there are none."""
    columns = ("path", "class", "action", "digest", "was", "split", "group", "source")
    rows = [
        [value for key, value in asdict(each).items() if key != "line"]
        for each in (corrected.corrections if corrected else ())
    ]
    write_csv(path, columns, rows, may_be_empty=False)


def undone(rows: Sequence[Row], corrections: Sequence[Correction], root: Path) -> list[Row]:
    """Returns the rows of a manifest as they were before corrections; what was left out and is gone now stays out."""
    was = {each.path: each.was for each in corrections if each.was}
    there = {row.path for row in rows}
    out = [
        Row(each.path, each.was, each.split, each.group, each.digest, each.line)
        for each in corrections
        if each.is_out and each.path not in there and os.path.isfile(Path(root, each.path))
    ]
    return [replace(row, label=was.get(row.path, row.label)) for row in rows] + out


def apply_corrections(
    before: ImageTable, pixels: Pixels, corrections: Sequence[Correction], name: str
) -> tuple[ImageTable, Pixels, Corrected]:
    """Gives images the classes that a person chose, and leaves out what is to be left out; the split stays.

    Returns:
        Table and pixels of what is used, and what was done.

    Raises:
        SeedsweepError: a line names no image, no class, an image twice, or one that has another content.
    """
    names = before.names()
    row_of = {printable(each): row for row, each in enumerate(names)} | {
        each: row for row, each in enumerate(names)
    }
    class_of = {one_form(each): number for number, each in enumerate(before.classes)}
    labels, keep = before.labels.copy(), np.ones(len(names), dtype=bool)
    line_of: dict[int, int] = {}
    done, unused = [], []
    for each in corrections:
        where = f"{name}, line {each.line}"
        row = row_of.get(each.path, row_of.get(os.path.normpath(each.path)))
        if row is None:
            if not each.was:  # else it is of a record, and the image was deleted after it was left out
                _check_there(each, before.root, where)
                unused.append(each.path)
            done.append(each)
            continue
        if (line := line_of.setdefault(row, each.line)) != each.line:
            raise SeedsweepError(
                f"{name}: {each.path} stands twice: in line {each.line}, and in line {line}."
            )
        if each.digest not in ("", before.digests[row]):
            raise SeedsweepError(
                f"{where}: {each.path} has another content than the image that was looked at: look at it again "
                "(task=diagnose writes review.html anew), or delete the line."
            )
        number = _number(each, class_of, where)
        done.append(
            replace(
                each,
                path=names[row],
                label="" if number is None else before.classes[number],
                digest=before.digests[row],
                was=before.classes[labels[row]],
                split=str(before.splits[row]),
                group=before.groups[row],
            )
        )
        if number is None:
            keep[row] = False
        else:
            labels[row] = number
    if unused:
        images = "image that is" if len(unused) == 1 else "images that are"
        log.info("%s names %d %s not used here (%s)", name, len(unused), images, some(unused))
    kept = np.flatnonzero(keep).tolist()
    return replace(before, labels=labels).part(kept), pixels.select(kept), Corrected(done, before, pixels)


def left_out_by(corrected: Corrected) -> list[LeftOut]:
    """Returns the images that corrections leave out."""
    root = corrected.before.root
    return [
        LeftOut(Path(root, each.path), each.was, "image(s)", WHY)
        for each in corrected.corrections
        if each.is_out
    ]


def _check_there(correction: Correction, root: Path, where: str) -> None:
    """Raises SeedsweepError where a line names no file below the folder of images."""
    path = Path(os.path.normpath(root / correction.path))
    if path.is_relative_to(root) and os.path.isfile(path):
        return
    raise SeedsweepError(f"{where}: {printable(correction.path)} is no image below data.root={root}.")


def _number(correction: Correction, class_of: dict[str, int], where: str) -> int | None:
    """Returns the number of the right class; None: the image is left out."""
    if correction.action == LEAVE_OUT:
        return None
    text = one_form(correction.label)
    number = class_of.get(text, class_of.get(text.strip()))
    if number is None:
        near = difflib.get_close_matches(text, class_of, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {some(sorted(class_of), 12)}."
        raise SeedsweepError(f"{where}: {text} is no class of these images{hint}")
    return number
