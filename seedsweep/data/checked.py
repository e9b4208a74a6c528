"""Checks every file once: its digest, whether it can be read, what kind of image it holds, and how it is scaled."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from seedsweep.data import value_ranges
from seedsweep.data.image_formats import BadImageError, check_memory, open_image
from seedsweep.data.images import JPEG, Reading, measured, why
from seedsweep.data.pixels import FirstRead, Pixels, Stamp
from seedsweep.data.threads import in_threads
from seedsweep.data.value_ranges import FLOAT, SIXTEEN, STATED, THIRTY_TWO, Measured, Ranges, kind_of
from seedsweep.digest import digest_of

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


MOST_MEASURED = 512  # files of a kind whose values are looked at, evenly spread


@dataclass
class SharedPixels:
    """The pixels of all files that were checked together.

    Attributes:
        pixels: of all of them, at the size of the net.
        ranges: by which images of more than 8 bits are scaled there; None: none of them is decoded yet.
    """

    pixels: Pixels
    ranges: Ranges | None = None

    def scaled(self, ranges: Ranges) -> Pixels:
        """Returns the pixels with images of more than 8 bits scaled by ``ranges``."""
        # what is decoded already was scaled otherwise, and may still be in use
        self.pixels = self.pixels.scaled(ranges, anew=self.ranges not in (None, ranges))
        self.ranges = ranges
        return self.pixels


@dataclass(frozen=True)
class CheckedFile:
    """A file that was checked.

    Attributes:
        path: of the file.
        row: of its pixels among those that are shared.
        digest: SHA-256; "" where it can't be read.
        facts: of the image.
        bad: why it can't be read; None: it can.
        measured: the values of an image of more than 8 bits; None: they were not measured yet.
    """

    path: Path
    row: int
    digest: str
    facts: Facts
    bad: str | None
    measured: Measured | None


@dataclass(frozen=True)
class CheckedFiles:
    """Files that were checked, and the pixels of these and perhaps of other files."""

    shared: SharedPixels
    files: list[CheckedFile]

    def select(self, rows: Sequence[int]) -> CheckedFiles:
        """Returns some of the files."""
        return CheckedFiles(self.shared, [self.files[row] for row in rows])

    def scaled(self, known: Ranges, workers: int) -> Pixels:
        """Returns the pixels of these files, all of them readable; decides how more than 8 bits become 8.

        Args:
            known: what was decided before; other kinds are decided by these files alone.
            workers: threads; -1: one for each core.
        """
        facts = [file.facts for file in self.files]
        already = {row: file.measured for row, file in enumerate(self.files) if file.measured}
        gib = self.shared.pixels.how.gib
        ranges = decide_ranges([file.path for file in self.files], facts, gib, workers, known, already)
        _log_what_is_read(facts, ranges)
        return self.shared.scaled(ranges).select([file.row for file in self.files])


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


@dataclass
class _Last:
    """The files that this process checked last."""

    checked: CheckedFiles | None = None
    row: dict[tuple[Path, Stamp], int] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _last(size: tuple[int, int], limits: tuple[float, float], workers: int, cache_dir: Path) -> _Last:
    return _Last()


def check_files(
    paths: Sequence[Path],
    stamps: Sequence[Stamp],
    size: tuple[int, int],
    limits: tuple[float, float],
    workers: int,
    cache_dir: Path,
) -> CheckedFiles:
    """Computes the digest of every file, and decodes those that were never decoded before.

    The jobs of a grid read the files once: the first job all that it finds, the others those that it did not leave
    out.

    Args:
        paths: of the files.
        stamps: of each.
        size: (height, width) of the images.
        limits: GiB of all images that are kept in memory, and GiB that one may take while it is read.
        workers: threads; -1: one for each core.
        cache_dir: where facts of files are kept.
    """
    last = _last(size, limits, workers, cache_dir)
    keys = list(zip(paths, stamps, strict=True))
    if last.checked is None or not all(key in last.row for key in keys):
        last.checked, last.row = None, {}  # first, so that two sets of images are never held
        last.checked = _check(paths, stamps, size, limits, workers, cache_dir)
        last.row = {key: row for row, key in enumerate(keys)}
    return last.checked.select([last.row[key] for key in keys])


def forget() -> None:
    """Forgets the files that were checked last, and their pixels."""
    _last.cache_clear()


def _check(
    paths: Sequence[Path],
    stamps: Sequence[Stamp],
    size: tuple[int, int],
    limits: tuple[float, float],
    workers: int,
    cache_dir: Path,
) -> CheckedFiles:
    keep_gib, image_gib = limits
    rows = range(len(paths))
    digests, bad = [""] * len(paths), dict[int, str]()
    found = dict[int, Measured]()

    def digest(row: int) -> None:
        try:
            digests[row] = digest_of(paths[row])
        except OSError as error:
            bad[row] = why(error, paths[row])

    def facts_of(row: int) -> None:
        facts[row] = look(paths[row], image_gib)

    def measure(row: int) -> None:
        try:
            if (each := measured(paths[row], facts[row].kind, image_gib, size)) is not None:
                found[row] = each
        except BadImageError as error:
            bad[row] = str(error)

    in_threads(digest, rows, workers, "checking files")
    known = known_facts(cache_dir)
    facts = [known.get(each, Facts()) for each in digests]
    new = [row for row in rows if digests[row] and digests[row] not in known]
    in_threads(facts_of, new, workers, "looking at files")
    keep = len(paths) * 3 * size[0] * size[1] <= keep_gib * 2**30
    pixels = Pixels(paths, size, keep, FirstRead(paths, stamps, digests), Reading(gib=image_gib))
    # how these are scaled is known once it is known which files are left out
    deep = {row for row in new if facts[row].kind and Ranges().get(facts[row].kind) is None}
    in_threads(measure, sorted(deep), workers, "measuring values")
    bad |= pixels.read([row for row in new if row not in deep], workers)
    remember_facts(cache_dir, {digests[row]: facts[row] for row in new if row not in bad})
    files = [
        CheckedFile(paths[row], row, digests[row], facts[row], bad.get(row), found.get(row)) for row in rows
    ]
    return CheckedFiles(SharedPixels(pixels), files)


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
        paths: of the files.
        facts: of each.
        gib: GiB that one image may take.
        workers: threads; -1: one for each core.
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
            with suppress(BadImageError):  # whoever reads it says why
                if (each := measured(paths[row], kind, gib)) is not None:
                    found[row] = each

        in_threads(one, [row for row in rows if row not in found], workers, "measuring values")
        if found:
            decided.append((kind, *value_ranges.decide(kind, [found[row] for row in sorted(found)])))
    return Ranges(tuple(sorted(decided)))
