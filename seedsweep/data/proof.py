"""Looks at every file once: its digest, whether it can be read, what kind of image it holds, and how it is scaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from seedsweep.data import values
from seedsweep.data.facts import Facts, known_facts, look, remember_facts
from seedsweep.data.images import Reading, measured
from seedsweep.data.opened import BadImageError
from seedsweep.data.pixels import Pixels, digest_files
from seedsweep.data.seen import Seen, Stamp
from seedsweep.data.threads import in_threads
from seedsweep.data.values import Measured, Ranges

MOST_MEASURED = 512  # files of a kind whose values are looked at, evenly spread


@dataclass
class Held:
    """The pixels of all files that were looked at together.

    Attributes:
        pixels: of all of them, at the size of the net.
        ranges: by which images of more than 8 bits are scaled there; None: none of them is held yet.
    """

    pixels: Pixels
    ranges: Ranges | None = None

    def scaled(self, ranges: Ranges) -> Pixels:
        """Returns the pixels with images of more than 8 bits scaled by ``ranges``."""
        if self.ranges not in (None, ranges):  # what is held was scaled otherwise, and may still be in use
            old = self.pixels
            self.pixels = Pixels(old.paths, old.size, old.keep, old.seen, old.how)
        self.ranges = ranges
        self.pixels.how = replace(self.pixels.how, ranges=ranges)
        return self.pixels


@dataclass(frozen=True)
class Proved:
    """Files that were looked at.

    Attributes:
        held: the pixels of these files, and perhaps of others.
        rows: of each file, in ``held``.
        paths: of each.
        digests: SHA-256 of each; "" where it can't be read.
        facts: of each.
        bad: by row, why a file can't be read.
        measured: by row, the values of an image of more than 8 bits, as far as they were measured.
    """

    held: Held
    rows: list[int]
    paths: list[Path]
    digests: list[str]
    facts: list[Facts]
    bad: dict[int, str]
    measured: dict[int, Measured]

    def select(self, rows: Sequence[int]) -> Proved:
        """Returns some of the files."""
        return Proved(
            self.held,
            [self.rows[row] for row in rows],
            [self.paths[row] for row in rows],
            [self.digests[row] for row in rows],
            [self.facts[row] for row in rows],
            {new: self.bad[row] for new, row in enumerate(rows) if row in self.bad},
            {new: self.measured[row] for new, row in enumerate(rows) if row in self.measured},
        )

    def scaled(self, known: Ranges, workers: int) -> Pixels:
        """Returns the pixels of these files, all of them readable; decides how more than 8 bits become 8.

        Args:
            known: what was decided before; other kinds are decided by these files alone.
            workers: threads; -1: one a core.
        """
        gib = self.held.pixels.how.gib
        ranges = decide_ranges(self.paths, self.facts, gib, workers, known, self.measured)
        self._tell(ranges)
        return self.held.scaled(ranges).select(self.rows)

    def _tell(self, ranges: Ranges) -> None:
        """Logs how images of more than 8 bits are scaled, and of which files only a part is read."""
        kinds = Counter(each.kind for each in self.facts if each.kind)
        for kind, low, high in ranges.of:
            if kinds[kind]:
                values.tell(kind, kinds[kind], len(self.facts), low, high)
        if several := sum(each.several for each in self.facts):
            values.log.info(
                "of %d %s with several pictures (animations, pages) the first one is read",
                several, "file" if several == 1 else "files",
            )  # fmt: skip


@dataclass
class _Last:
    """The files that this process looked at last."""

    proved: Proved | None = None
    row: dict[tuple[Path, Stamp], int] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _last(size: tuple[int, int], limits: tuple[float, float], workers: int, cache_dir: Path) -> _Last:
    return _Last()


def prove(
    paths: tuple[Path, ...],
    stamps: tuple[Stamp, ...],
    size: tuple[int, int],
    limits: tuple[float, float],
    workers: int,
    cache_dir: Path,
) -> Proved:
    """Digests every file, and decodes those that were never decoded before.

    The jobs of a grid read the files once: the first one all that it finds, the others those that it did not leave
    out.

    Args:
        paths: of the files.
        stamps: of each.
        size: (height, width) of the images.
        limits: GiB of all images that are kept in memory, and GiB that one may take while it is read.
        workers: threads; -1: one a core.
        cache_dir: where facts of files are kept.
    """
    last = _last(size, limits, workers, cache_dir)
    keys = list(zip(paths, stamps, strict=True))
    if last.proved is None or not all(key in last.row for key in keys):
        last.proved, last.row = None, {}  # first, so that two sets of images are never held
        last.proved = _prove(paths, stamps, size, limits, workers, cache_dir)
        last.row = {key: row for row, key in enumerate(keys)}
    return last.proved.select([last.row[key] for key in keys])


def forget() -> None:
    """Forgets the files that were looked at last, and their pixels."""
    _last.cache_clear()


def _prove(
    paths: tuple[Path, ...],
    stamps: tuple[Stamp, ...],
    size: tuple[int, int],
    limits: tuple[float, float],
    workers: int,
    cache_dir: Path,
) -> Proved:
    keep_gib, image_gib = limits
    digests, bad = digest_files(paths, workers)
    known = known_facts(cache_dir)
    facts = [known.get(digest, Facts()) for digest in digests]
    unproved = [row for row, digest in enumerate(digests) if digest and digest not in known]

    def one(row: int) -> None:
        facts[row] = look(paths[row], image_gib)

    in_threads(one, unproved, workers, "looking at files")
    keep = len(paths) * 3 * size[0] * size[1] <= keep_gib * 2**30
    pixels = Pixels(paths, size, keep, Seen(paths, stamps, digests), Reading(gib=image_gib))
    # how these are scaled is known once it is known which files are left out
    deep = {row for row in unproved if facts[row].kind and Ranges().get(facts[row].kind) is None}
    found: dict[int, Measured] = {}

    def measure(row: int) -> None:
        try:
            if (each := measured(paths[row], facts[row].kind, image_gib, size)) is not None:
                found[row] = each
        except BadImageError as error:
            bad[row] = str(error)

    in_threads(measure, sorted(deep), workers, "measuring values")
    bad |= pixels.read([row for row in unproved if row not in deep], workers)
    remember_facts(cache_dir, {digests[row]: facts[row] for row in unproved if row not in bad})
    rows = list(range(len(paths)))
    return Proved(Held(pixels), rows, list(paths), digests, facts, dict(sorted(bad.items())), found)


def decide_ranges(
    paths: Sequence[Path],
    facts: Sequence[Facts],
    gib: float,
    workers: int,
    known: Ranges,
    already: Mapping[int, Measured] | None = None,
) -> Ranges:
    """Returns one range a kind of images of more than 8 bits.

    Args:
        paths: of the files.
        facts: of each.
        gib: GiB that one image may take.
        workers: threads; -1: one a core.
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
            decided.append((kind, *values.decide(kind, [found[row] for row in sorted(found)])))
    return Ranges(tuple(sorted(decided)))
