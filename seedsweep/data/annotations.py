"""Finds masks and label images beside photographs, and files that show the same object."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.data.checked import Facts
from seedsweep.data.folder import Found
from seedsweep.data.walk import LeftOut, log_left_out
from seedsweep.errors import SeedsweepError
from seedsweep.names import class_of, one_form, printable

WORD = (
    r"(?:masks?|labels?|annot(?:ation)?s?|seg(?:mentation)?s?|segmentation[ _-]?(?:class|object|masks?)|gts?|"
    r"ground[ _-]?truths?|mattes?)"
)
FOLDER = re.compile(WORD, re.IGNORECASE)
BEHIND = re.compile(rf"(.+?)[ ._-]+{WORD}(?:[ ._-]*\d+)?", re.IGNORECASE)
BEFORE = re.compile(rf"{WORD}[ ._-]+(.+)", re.IGNORECASE)
ALL = 0.9  # with this share of two-valued images they are the data: scans, drawings, silhouettes
EXAMPLES = 2


@dataclass(frozen=True)
class Annotation:
    """An image that looks like an annotation."""

    row: int  # of the file
    why: str  # what it looks like
    of: int | None = None  # row of the photograph that it belongs to; None: not known


def find_annotations(files: Sequence[Found], facts: Sequence[Facts]) -> list[Annotation]:
    """Looks for annotations among images in class folders."""
    keys = [(file.path.parent, one_form(file.path.stem)) for file in files]
    at = {key: row for row, key in reversed(list(enumerate(keys)))}
    photograph = {key: row for key, row in at.items() if not facts[row].values}
    for row, key in enumerate(keys):  # of several files of a name, one of many values
        if not facts[row].values:
            photograph.setdefault(key, row)
    anywhere: dict[tuple[str, str], int] = {}
    for (_, stem), row in photograph.items():
        if not _in_folder(files[row], facts[row].values > 0):  # else an annotation would be its own partner
            anywhere |= {("", stem): row, (files[row].label, stem): row}
    found = []
    for row, (file, (folder, stem)) in enumerate(zip(files, keys, strict=True)):
        few = facts[row].values > 0
        base = next((match[1] for rule in (BEHIND, BEFORE) if (match := rule.fullmatch(stem))), None)
        partner = photograph.get((folder, stem))
        if few and partner is not None:
            found.append(Annotation(row, "beside an image of the same name", partner))
        elif base is not None and (folder, base) in at:
            found.append(Annotation(row, f"called {_tail(stem, base)}", at[folder, base]))
        elif _in_folder(file, few):
            partner = anywhere.get((file.label, base or stem), anywhere.get(("", base or stem)))
            found.append(Annotation(row, "in a folder for annotations", partner))
    known = {each.row for each in found}
    two = [row for row, each in enumerate(facts) if each.values == 2 and row not in known]
    if len(two) <= ALL * (len(files) - len(known)):
        found += [Annotation(row, "of two values only") for row in two]
    return found


def _tail(stem: str, base: str) -> str:
    """Returns the part of a name that marks an annotation, such as `..._mask`."""
    tail = re.sub(r"\d+$", "", stem.replace(base, "...", 1))
    return printable(tail.rstrip(" ._-") if tail.startswith("...") else tail)


def _in_folder(file: Found, few: bool) -> bool:
    """Says whether a file lies in a folder named for annotations; a class with photographs may have such a name."""
    for folder in file.path.parents:
        of_class = class_of(folder.name) == file.label
        if FOLDER.fullmatch(folder.name) and (few or not of_class):
            return True
        if of_class:
            return False
    return False


def settle_annotations(
    files: Sequence[Found], facts: Sequence[Facts], root: Path, setting: str
) -> tuple[list[Annotation], list[LeftOut]]:
    """Returns the annotations among images that are used all the same, and those that are left out.

    Args:
        setting: ``data.annotations``: ask | skip | keep.

    Raises:
        SeedsweepError: there are some, and the setting is ask; names counts, examples and the two other settings.
    """
    annotations = find_annotations(files, facts)
    if setting != "skip" or not annotations:
        if annotations and setting == "ask":
            _refuse(files, annotations, root)
        return annotations, []
    out = [
        LeftOut(files[each.row].path, files[each.row].label, "annotation(s)", each.why)
        for each in annotations
    ]
    log_left_out(out)
    return [], out


def _refuse(files: Sequence[Found], annotations: Sequence[Annotation], root: Path) -> None:
    """Asks the user what such images are."""
    looks = []
    for why, count in Counter(each.why for each in annotations).most_common():
        paths = [files[each.row].path for each in annotations if each.why == why][:EXAMPLES]
        examples = ", ".join(printable(os.path.relpath(path, root)) for path in paths)
        looks.append(f"{count} {why} (such as {examples})")
    raise SeedsweepError(
        f"{len(annotations)} of {len(files)} images look like masks or other annotations, not like photographs: "
        f"{'; '.join(looks)}. Add data.annotations=skip to leave them out, or data.annotations=keep if they are images "
        "of their classes."
    )


def same_object(files: Sequence[Found], annotations: Sequence[Annotation]) -> list[tuple[int, int]]:
    """Returns pairs of rows of one object, to stay on one side of a split: files of one name, masks and images."""
    first: dict[tuple[Path, str], int] = {}
    pairs = []
    for row, file in enumerate(files):
        other = first.setdefault((file.path.parent, one_form(file.path.stem)), row)
        if other != row:
            pairs.append((other, row))
    return pairs + [(each.of, each.row) for each in annotations if each.of is not None]
