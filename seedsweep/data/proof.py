"""Looks at every file once: its digest, whether it can be read, what kind of image it holds, and how it is scaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from seedsweep.data import values
from seedsweep.data.facts import Facts, known_facts, look, remember_facts
from seedsweep.data.images import Reading, measured
from seedsweep.data.pixels import Pixels, digest_files, in_threads
from seedsweep.data.seen import Seen, Stamp
from seedsweep.data.values import Ranges

MOST_MEASURED = 512  # files of a kind whose values are looked at, evenly spread


@dataclass(frozen=True)
class Proved:
    """Files that were looked at.

    Attributes:
        pixels: their images, at the size of the net.
        digests: SHA-256 of each; "" where it can't be read.
        facts: of each.
        bad: by row, why a file can't be read.
    """

    pixels: Pixels
    digests: list[str]
    facts: list[Facts]
    bad: dict[int, str]

    def select(self, rows: list[int]) -> Proved:
        """Returns some of the files, all of them readable."""
        return Proved(
            self.pixels.select(rows),
            [self.digests[row] for row in rows],
            [self.facts[row] for row in rows],
            {},
        )

    def tell(self) -> None:
        """Logs how images of more than 8 bits are scaled, and of which files only a part is read."""
        kinds = Counter(each.kind for each in self.facts if each.kind)
        for kind, low, high in self.pixels.how.ranges.of:
            if kinds[kind]:
                values.tell(kind, kinds[kind], len(self.facts), low, high)
        if several := sum(each.several for each in self.facts):
            values.log.info(
                "of %d %s with several pictures (animations, pages) the first one is read",
                several, "file" if several == 1 else "files",
            )  # fmt: skip


@lru_cache(maxsize=1)  # the jobs of a grid read the files once
def prove(
    paths: tuple[Path, ...],
    stamps: tuple[Stamp, ...],
    size: tuple[int, int],
    limits: tuple[float, float],
    workers: int,
    cache_dir: Path,
) -> Proved:
    """Digests every file, and decodes those that were never decoded before.

    Args:
        paths: of the files.
        stamps: of each.
        size: (height, width) of the images.
        limits: GiB of all images that are kept in memory, and GiB that one may take while it is read.
        workers: threads; -1: one a core.
        cache_dir: where facts of files are kept.
    """
    keep_gib, image_gib = limits
    digests, bad = digest_files(paths, workers)
    known = known_facts(cache_dir)
    facts = [known.get(digest, Facts()) for digest in digests]
    unproved = [row for row, digest in enumerate(digests) if digest and digest not in known]

    def one(row: int) -> None:
        facts[row] = look(paths[row], image_gib)

    in_threads(one, unproved, workers, "looking at files")
    how = Reading(decide_ranges(paths, facts, image_gib, workers), image_gib)
    keep = len(paths) * 3 * size[0] * size[1] <= keep_gib * 2**30
    pixels = Pixels(paths, size, keep, Seen(paths, stamps, digests), how)
    bad |= pixels.read(unproved, workers)
    remember_facts(cache_dir, {digests[row]: facts[row] for row in unproved if row not in bad})
    return Proved(pixels, digests, facts, dict(sorted(bad.items())))


def decide_ranges(
    paths: Sequence[Path], facts: Sequence[Facts], gib: float, workers: int, known: Ranges | None = None
) -> Ranges:
    """Returns one range a kind of images of more than 8 bits.

    Args:
        paths: of the files.
        facts: of each.
        gib: GiB that one image may take.
        workers: threads; -1: one a core.
        known: kinds that are decided already.
    """
    known = known or Ranges()
    decided = list(known.of)
    for kind in sorted({each.kind for each in facts if each.kind}):
        if known.get(kind) is not None:
            continue
        rows = [row for row, each in enumerate(facts) if each.kind == kind]
        rows = [row for row in rows if not facts[row].values] or rows  # a mask has another range
        rows = rows[:: -(-len(rows) // MOST_MEASURED)]
        found: dict[int, values.Measured] = {}

        def one(row: int, kind: str = kind, found: dict[int, values.Measured] = found) -> None:
            if (each := measured(paths[row], kind, gib)) is not None:
                found[row] = each

        in_threads(one, rows, workers, "measuring values")
        if found:
            decided.append((kind, *values.decide(kind, [found[row] for row in sorted(found)])))
    return Ranges(tuple(decided))
