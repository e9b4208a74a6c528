"""Which images a run was judged by: scores on other images are no ranking."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from seedsweep.data.manifest import Row, read_manifest
from seedsweep.errors import SeedsweepError
from seedsweep.names import printable
from seedsweep.runs.command import shown

log = logging.getLogger(__name__)

HELD_OUT = {"val": "validation", "test": "test"}
DIFFERENT = "The {} were judged by different images: each data set has a ranking of its own."
T = TypeVar("T")
SHOWN = 8  # characters of a digest that tell data sets apart


@dataclass(frozen=True)
class HeldOut:
    """The images of validation and test; of a run of ``data.folds`` all images, for each is tested in some fold."""

    # SHA-256, in hex, of their names, classes, splits (of folds: how they were dealt) and contents; of an old run
    # without its manifest, of their numbers by class
    digest: str
    about: str = field(compare=False)  # where they lie and how many there are, for a title
    # whether the digest is of the contents of all of them
    by_content: bool = field(default=False, compare=False)

    @property
    def short(self) -> str:
        """The beginning of the digest, as tables show it."""
        return self.digest[:SHOWN]


def held_out(folder: Path, metrics: dict[str, Any], first_val: str | None = None) -> HeldOut:
    """Returns by which images a run was judged.

    Args:
        first_val: path of its first validation image, from which the folder of the images is known.
    """
    numbers = {split: (metrics.get("images") or {}).get(split) or {} for split in HELD_OUT}
    counts = {split: sum(by_class.values()) for split, by_class in numbers.items()}
    about = ", ".join(f"{n} {HELD_OUT[split]} images" for split, n in counts.items() if n)
    try:
        everything = read_manifest(folder / "manifest.csv")
        rows = [row for row in everything if row.split in HELD_OUT]
    except SeedsweepError as error:
        if (folder / "manifest.csv").is_file():
            log.warning(
                "the images that %s was judged by are known by their numbers alone: %s", folder, error
            )
        return HeldOut(_digest([json.dumps(numbers, sort_keys=True, allow_nan=False)]), about)
    root = _root(rows, first_val)
    if fold := metrics.get("fold"):
        rows, about = everything, f"{len(everything)} images in {fold['of']} folds"
        how = json.dumps(
            {key: value for key, value in fold.items() if key != "number"}, sort_keys=True, allow_nan=False
        )
        digest = _digest([how, *("\0".join((r.path, r.label, r.group or "", r.digest or "")) for r in rows)])
    else:
        digest = _digest("\0".join((row.path, row.label, row.split, row.digest or "")) for row in rows)
    return HeldOut(
        digest,
        f"{printable(str(shown(Path(root))))}, {about}" if root else about,
        all(row.digest for row in rows),
    )


def by_digest(items: Iterable[T], digest: Callable[[T], str]) -> list[list[T]]:
    """Returns those together that were judged by the same images, in the order of the first of each."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(digest(item), []).append(item)
    return list(groups.values())


def title_of(number: int, images: HeldOut | None) -> str:
    """Returns what a ranking stands under, ``number`` from 1; None: which images they are is not known."""
    return f"data set {number}" + (f" ({images.short}): {images.about}" if images else "")


def _root(rows: list[Row], first_val: str | None) -> str | None:
    first = next((row.path for row in rows if row.split == "val"), None)
    if first is None or first_val is None or not first_val.endswith(f"/{first}"):
        return None
    return first_val.removesuffix(f"/{first}")


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()
