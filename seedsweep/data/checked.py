"""Checks every file once: its digest, whether it can be read, what kind of image it holds, and how it is scaled."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from seedsweep.data import value_ranges
from seedsweep.data.image_formats import BadImageError, check_memory, open_image
from seedsweep.data.images import JPEG, Reading, measured, why
from seedsweep.data.options import DataConfig
from seedsweep.data.pixels import FirstRead, Pixels, Stamp, stamp_of
from seedsweep.data.threads import in_threads
from seedsweep.data.value_ranges import FLOAT, SIXTEEN, STATED, THIRTY_TWO, Measured, Ranges, kind_of
from seedsweep.digest import digest_of

log = logging.getLogger(__name__)

NAME = "readable.txt"  # in the cache; a line a file: SHA-256 and facts
KINDS = {"": "-", SIXTEEN: "s", STATED: "h", THIRTY_TWO: "i", FLOAT: "f"}
FEW = 32  # values: more are a picture
DENSE = 0.15  # bytes a pixel: an image of few values takes fewer, packed without loss
LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP")
MOST_MEASURED = 512  # files of a kind whose values are looked at, evenly spread


@dataclass(frozen=True)
class Facts:
    """Facts of a readable image file."""

    kind: str = ""  # of its values, by ``value_ranges``; "" for 8 bits
    several: bool = False  # it holds several pictures, of which the first is read: an animation, or pages
    values: int = 0  # different values or colours, if they are at most FEW; 0: more, or not counted (JPEG)


@dataclass(frozen=True)
class CheckedFile:
    """A file that was checked."""

    path: Path  # of the file
    row: int  # of its pixels
    digest: str  # SHA-256; "" where it can't be read
    facts: Facts  # of the image
    bad: str | None  # why it can't be read; None: it can
    measured: Measured | None  # the values of an image of more than 8 bits; None: they were not measured yet


class FileChecks:
    """Checks files, and keeps what was found, and their pixels, until others are asked for.

    The jobs of a grid in one process share one: the first job reads all files that it finds, and the others find
    those that it did not leave out read already.
    """

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] = ()
        self._found: dict[tuple[Path, Stamp], CheckedFile] = {}
        self._pixels: Pixels | None = None
        self._ranges: Ranges | None = None  # that the pixels are scaled by; None: none needs it so far

    def check(self, paths: Sequence[Path], config: DataConfig, cache_dir: Path) -> list[CheckedFile]:
        """Computes the digest of every file, and decodes those that were never decoded before."""
        asked = (*config.image_size, config.cache_gib, config.image_gib, config.workers, cache_dir)
        keys = [(path, stamp_of(path)) for path in paths]
        if asked != self._asked or not all(key in self._found for key in keys):
            self._found, self._pixels, self._ranges = {}, None, None  # two sets of images are never held
            self._pixels, files = _check(keys, config, cache_dir)
            self._asked, self._found = asked, dict(zip(keys, files, strict=True))
        return [self._found[key] for key in keys]

    def scaled(self, files: Sequence[CheckedFile], known: Ranges, workers: int) -> Pixels:
        """Returns the pixels of checked, readable files; kinds of more than 8 bits that are not ``known`` are decided
        by these."""
        assert self._pixels is not None
        facts = [file.facts for file in files]
        already = {row: file.measured for row, file in enumerate(files) if file.measured}
        gib = self._pixels.how.gib
        ranges = decide_ranges([file.path for file in files], facts, gib, workers, known, already)
        _log_what_is_read(facts, ranges)
        # what is decoded already was scaled otherwise, and may still be in use
        self._pixels = self._pixels.scaled(ranges, anew=self._ranges not in (None, ranges))
        self._ranges = ranges
        return self._pixels.select([file.row for file in files])


def _log_what_is_read(facts: Sequence[Facts], ranges: Ranges) -> None:
    """Logs how images of more than 8 bits are scaled, and of which files only a part is read."""
    kinds = Counter(each.kind for each in facts if each.kind)
    for kind, low, high in ranges.of:
        if kinds[kind]:
            value_ranges.log_range(kind, kinds[kind], len(facts), low, high)
    if several := sum(each.several for each in facts):
        log.info(
            "of %d %s with several pictures (animations, pages) the first one is read",
            several, "file" if several == 1 else "files",
        )  # fmt: skip


def _check(
    keys: Sequence[tuple[Path, Stamp]], config: DataConfig, cache_dir: Path
) -> tuple[Pixels, list[CheckedFile]]:
    """Reads all files in threads; the pixels returned hold those that had to be decoded, where there is room."""
    paths = [path for path, _ in keys]
    seen = [FirstRead(stamp, "") for _, stamp in keys]
    size = (config.image_size[0], config.image_size[1])
    known = _known_facts(cache_dir)
    facts = [Facts()] * len(keys)
    bad, found, new = dict[int, str](), dict[int, Measured](), dict[str, Facts]()
    keep = len(paths) * 3 * size[0] * size[1] <= config.cache_gib * 2**30
    pixels = Pixels(paths, size, keep, seen, Reading(gib=config.image_gib))

    def one(row: int) -> None:
        path = paths[row]
        try:
            digest = digest_of(path)
        except OSError as error:
            bad[row] = why(error, path)
            return
        seen[row] = FirstRead(seen[row].stamp, digest)
        if digest in known:
            facts[row] = known[digest]
            return
        facts[row] = look(path, config.image_gib)
        kind = facts[row].kind
        try:
            if not kind or Ranges().get(kind) is not None:
                pixels.hold(row)
            # how these are scaled is known once it is known which files are left out
            elif (values := measured(path, kind, config.image_gib, size)) is not None:
                found[row] = values
            new[digest] = facts[row]
        except BadImageError as error:
            bad[row] = str(error)

    in_threads(one, range(len(paths)), config.workers, "checking files")
    _remember_facts(cache_dir, new)
    return pixels, [
        CheckedFile(path, row, seen[row].digest, facts[row], bad.get(row), found.get(row))
        for row, path in enumerate(paths)
    ]


def decide_ranges(
    paths: Sequence[Path],
    facts: Sequence[Facts],
    gib: float,
    workers: int,
    known: Ranges,
    already: Mapping[int, Measured] | None = None,
) -> Ranges:
    """Returns one range for each kind of images of more than 8 bits.

    Args:
        known: kinds that are decided already.
        already: by row, what was measured already.
    """
    decided = list(known.of)
    for kind in sorted({each.kind for each in facts if each.kind}):
        if known.get(kind) is not None:
            continue
        rows = [row for row, each in enumerate(facts) if each.kind == kind]
        rows = [row for row in rows if not facts[row].values] or rows  # a mask has another range
        rows = rows[:: -(-len(rows) // MOST_MEASURED)]
        found = {row: already[row] for row in rows if row in already} if already else {}

        def one(row: int, kind: str = kind, found: dict[int, Measured] = found) -> None:
            with suppress(BadImageError):  # reported when it is read
                if (each := measured(paths[row], kind, gib)) is not None:
                    found[row] = each

        in_threads(one, [row for row in rows if row not in found], workers, "measuring values")
        if found:
            decided.append((kind, *value_ranges.decide(kind, [found[row] for row in sorted(found)])))
    return Ranges(tuple(sorted(decided)))


def look_at(paths: Sequence[Path], gib: float, workers: int, count: bool = True) -> list[Facts]:
    """Returns the facts of files, by :func:`look` in threads (``workers``; -1: one for each core)."""
    facts = [Facts()] * len(paths)

    def one(row: int) -> None:
        facts[row] = look(paths[row], gib, count)

    in_threads(one, range(len(paths)), workers, "looking at files")
    return facts


def look(path: Path, gib: float, count: bool = True) -> Facts:
    """Returns the facts of a file, its values counted if ``count``; those of an ordinary image if it can't be read."""
    try:
        with path.open("rb") as file:
            if file.read(len(JPEG)) == JPEG:
                return Facts()
        with open_image(path, gib) as image:
            several = image.format in ("GIF", "TIFF") and bool(getattr(image, "is_animated", False))
            several |= image.format in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1
            n = _few_values(image, path.stat().st_size, gib) if count else 0
            return Facts(kind_of(image) or "", several, n)
    except Exception as error:
        log.debug("%s: %s", path, error)
        return Facts()


def _few_values(image: Image.Image, n_bytes: int, gib: float) -> int:
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
    return len(image.getcolors(FEW) or ())


def _known_facts(cache: Path) -> dict[str, Facts]:
    """Returns the facts by digest, as far as they were written; none where there is no cache."""
    found: dict[str, Facts] = {}
    kinds = {code: kind for kind, code in KINDS.items()}
    try:
        lines = (cache / NAME).read_text().splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        digest, _, facts = line.partition(" ")
        with suppress(ValueError, IndexError, KeyError):  # half a line, or of an earlier version
            found[digest] = Facts(kinds[facts[0]], facts[1] == "1", int(facts[2:]))
    return found


def _remember_facts(cache: Path, facts: Mapping[str, Facts]) -> None:
    """Adds facts by digest. A cache that can't be written is no error."""
    lines = "".join(
        f"{digest} {KINDS[each.kind]}{int(each.several)}{each.values}\n"
        for digest, each in sorted(facts.items())
    )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{NAME}.lock"), (cache / NAME).open("a") as file:
            file.write(lines)
    except OSError as error:
        log.debug("%s: %s", cache / NAME, error)
