"""The copies among a data set's images, found once for the same files and kept in the cache."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.data.equal_files import equal_pairs
from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import Reading, read_image
from seedsweep.data.manifest import ImageTable
from seedsweep.data.threads import in_threads
from seedsweep.diagnosis.near_copies import SIDE, Pair, find_pairs
from seedsweep.errors import DamagedError
from seedsweep.whole import read_json, write_json

log = logging.getLogger(__name__)

VERSION = 1  # of the comparison
FOLDER = "copies"  # in the cache; a file for each set of images
GREY = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)


def pairs_of(table: ImageTable, how: Reading, cache: Path | None) -> list[Pair]:
    """Returns the pairs of equal files and of near copies, by rows of the table; ``cache`` keeps them, unless None."""
    first: dict[str, int] = {}
    for row, digest in enumerate(table.digests):
        first.setdefault(digest, row)
    key = hashlib.sha256("\n".join([str((VERSION, how.ranges)), *sorted(first)]).encode()).hexdigest()
    path = None if cache is None else cache / FOLDER / f"{key[:32]}.json"
    with suppress(DamagedError, KeyError, TypeError, ValueError):
        if path is not None and (known := read_json(path)):
            near = [_pair(first[a], first[b], float(like), int(turn)) for a, b, like, turn in known["near"]]
            return [Pair(a, b, True, 1.0) for a, b in equal_pairs(table.digests)] + near
    pairs = find_pairs(table.digests, read_grey(table.paths, how, -1))
    if path is not None:
        digests = table.digests
        near_ = [[digests[p.first], digests[p.second], p.likeness, p.turn] for p in pairs if not p.exact]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"near": near_})
        except OSError as error:  # a cache that can't be written is no error
            log.debug("%s: %s", path, error)
    return pairs


def _pair(a: int, b: int, likeness: float, turn: int) -> Pair:
    return Pair(min(a, b), max(a, b), False, likeness, turn)


def read_grey(paths: list[Path], how: Reading, workers: int) -> NDArray[np.uint8]:
    """Reads images as grey ones of [N, SIDE, SIDE]; one that can't be read any more is black."""
    found = np.zeros((len(paths), SIDE, SIDE), np.uint8)

    def one(row: int) -> None:
        with suppress(BadImageError):
            pixels = read_image(paths[row], (SIDE, SIDE), how).numpy().astype(np.float32)
            found[row] = np.rint(np.tensordot(GREY, pixels, 1))

    in_threads(one, range(len(paths)), workers, "comparing images")
    return found
