"""Exact and near duplicates.

Candidates are pairs whose perceptual hashes (pHash, ``imagehash``) differ in few bits. Single seeds on one background
resemble one another, so a pair counts only if its pixels agree as those of two copies do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

SIDE = 32  # of a thumbnail
BITS = 10  # of 64 that may differ: saving anew at quality 30 turns up to 6, another photograph about 30
BLOCK = 1024
SAME = 0.985  # correlation of the thumbnails' pixels
FLAT = 4.0  # an image whose pixels vary less than this, of 255, shows nothing that could be recognised


@dataclass(frozen=True)
class Pair:
    """Rows of two images that show the same photograph; ``exact`` if the files are equal byte by byte."""

    first: int
    second: int
    exact: bool
    likeness: float  # correlation of the pixels, 1 for equal ones


def thumbnails(images: Tensor) -> NDArray[np.uint8]:
    """Shrinks uint8 [B, 3, H, W] to [B, SIDE, SIDE, 3] by averaging."""
    small = functional.interpolate(images.float(), (SIDE, SIDE), mode="area")
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def find_pairs(digests: Sequence[str], small: NDArray[np.uint8]) -> list[Pair]:
    """Returns pairs of exact and near duplicates, each copy with the first of its kind.

    Args:
        digests: SHA-256 of each file.
        small: thumbnails, [N, SIDE, SIDE, 3].
    """
    first: dict[str, int] = {}
    pairs = []
    for row, digest in enumerate(digests):
        if digest in first:
            pairs.append(Pair(first[digest], row, exact=True, likeness=1.0))
        first.setdefault(digest, row)
    rows = np.asarray(sorted(first.values()), dtype=np.int64)
    return pairs + _near(rows, small)


def _near(rows: NDArray[np.int64], small: NDArray[np.uint8]) -> list[Pair]:
    """Compares each of ``rows`` with all later ones."""
    rows = rows[small[rows].std((1, 2)).max(1) >= FLAT]
    hashes = np.asarray([_hash(small[row]) for row in rows], dtype=np.uint64)
    pairs = []
    for start in range(0, len(rows), BLOCK):
        distance = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[None])
        for left, right in np.argwhere(distance <= BITS):
            a, b = int(rows[start + left]), int(rows[right])
            if a < b and (likeness := _likeness(small[a], small[b])) >= SAME:
                pairs.append(Pair(a, b, exact=False, likeness=likeness))
    return pairs


def _hash(thumbnail: NDArray[np.uint8]) -> int:
    bits = imagehash.phash(Image.fromarray(thumbnail)).hash.ravel()
    return int(np.packbits(bits).view(">u8")[0])


def _likeness(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns 1 less the squared difference, in units of the images' own variance; 1 for equal images.

    Unlike a correlation it also sees another light or colour: two seeds, one form.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    variance = (x.var((0, 1)).mean() + y.var((0, 1)).mean()) / 2
    return float(1 - ((x - y) ** 2).mean() / (2 * variance))
