"""Keeps facts about files by digest: that a file was decoded whole once, and what kind of image it holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from seedsweep.data.images import JPEG
from seedsweep.data.opened import check_memory, open_image
from seedsweep.data.values import FLOAT, SIXTEEN, STATED, THIRTY_TWO, kind_of

log = logging.getLogger(__name__)

NAME = "readable.txt"  # a line a file: SHA-256 and facts
KINDS = {"": "-", SIXTEEN: "s", STATED: "h", THIRTY_TWO: "i", FLOAT: "f"}
FEW = 32  # values: more are a picture
DENSE = 0.15  # bytes a pixel: an image of few values takes fewer, packed without loss
LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP")


@dataclass(frozen=True)
class Facts:
    """Facts of a readable image file.

    Attributes:
        kind: of its values, by ``values.py``; "" for 8 bits.
        several: it holds several pictures, of which the first is read: an animation, or pages.
        values: different values or colours, if they are at most FEW; 0: more, or not counted (JPEG).
    """

    kind: str = ""
    several: bool = False
    values: int = 0

    def __str__(self) -> str:
        return f"{KINDS[self.kind]}{int(self.several)}{self.values}"

    @classmethod
    def of(cls, line: str) -> Facts:
        """Reads what ``str`` made.

        Raises:
            ValueError: it is something else.
        """
        kinds = {code: kind for kind, code in KINDS.items()}
        if len(line) < 3 or line[0] not in kinds:
            raise ValueError(line)
        return cls(kinds[line[0]], line[1] == "1", int(line[2:]))


def look(path: Path, gib: float, count: bool = True) -> Facts:
    """Returns the facts of a file; those of an ordinary image if it can't be read (decoding will say so).

    Args:
        path: of the file.
        gib: GiB that one image may take.
        count: its values, which may take decoding it.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(JPEG)) == JPEG:
                return Facts()
        with open_image(path, gib) as image:
            several = image.format in ("GIF", "TIFF") and bool(getattr(image, "is_animated", False))
            several |= image.format in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1
            return Facts(
                kind_of(image) or "", several, _values(image, path.stat().st_size, gib) if count else 0
            )
    except Exception as error:
        log.debug("%s: %s", path, error)
        return Facts()


def _values(image: Image.Image, n_bytes: int, gib: float) -> int:
    """Counts the different values of an opened image, where they may be few; it must decode the image."""
    if image.format not in LOSSLESS or image.info.get("lossless") is False:
        return 0
    packed = image.format in ("PNG", "GIF", "WEBP") or image.info.get("compression") not in (None, "raw")
    if packed and image.mode not in ("1", "P") and n_bytes > DENSE * image.width * image.height + 1024:
        return 0
    check_memory(image, None, gib, deep=kind_of(image) is not None)
    if kind_of(image):
        n = len(np.unique(np.asarray(image)))
        return n if n <= FEW else 0
    found = image.getcolors(FEW)
    return len(found) if found else 0


def known_facts(cache: Path) -> dict[str, Facts]:
    """Returns the facts by digest, as far as they were written; none where there is no cache."""
    found: dict[str, Facts] = {}
    try:
        lines = (cache / NAME).read_text().splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        digest, _, facts = line.partition(" ")
        try:
            found[digest] = Facts.of(facts)
        except ValueError:  # half a line, or of an earlier version
            continue
    return found


def remember_facts(cache: Path, facts: Mapping[str, Facts]) -> None:
    """Adds facts by digest. A cache that can't be written is no error."""
    lines = "".join(f"{digest} {each}\n" for digest, each in sorted(facts.items()))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{NAME}.lock"), (cache / NAME).open("a") as file:
            file.write(lines)
    except OSError as error:
        log.debug("%s: %s", cache / NAME, error)
