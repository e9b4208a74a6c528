"""Copies of images: equal files, and images that were saved anew, scaled, mirrored or turned.

That two images are alike makes no copy: where an object fills the same place in every image, they all are. So what an
image has in common with those nearest to it is taken away first. The rest, its own details, agrees in a copy, in most
parts of the image, and far more than the details of this data's different images do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from seedsweep.data.equal_files import equal_pairs
from seedsweep.data.threads import in_threads

SIDE = 64  # pixels of the images that are compared
LOW, HIGH = 8, 32  # orders of the cosine transform: candidates are found by the first, compared by the second
NEAR = 20  # images that each is compared with
FEWEST = 12  # images: among fewer nobody can say how alike different ones are
MODES = (
    24  # ways in which these images differ most, such as position and light: two images share them by chance
)
SAMPLE = 1500  # images by which those ways are found
SCALES = (16, 24, 32)  # orders that are compared: a copy that was made smaller has lost the highest
TILES = 8  # on each side; most of them must agree, so that one scratch at the same place is no copy
FLOOR = 0.012  # of an order's size, in grey levels: less is what saving changes
FEWEST_TILES = 10  # that show something
EMPTY = 0.05  # energy below which a tile shows nothing of its own; 1 is the mean
CLEAR = 7.0  # robust standard deviations above what different images agree by
SAME = 0.65  # least agreement of a copy
HALF = 0.5  # of the median difference from those nearest: most by which a copy may differ
TURNED = 0.4  # likewise, of one that is mirrored or turned: seven more ways to agree by chance
FLAT = 4.0  # an image whose pixels vary less than this, of 255, shows nothing that could be recognised
CHUNK = 128  # images that are compared at a time
TURNS = (
    "as it is", "mirrored left to right", "mirrored top to bottom", "turned by 180 degrees",
    "mirrored and turned by 90 degrees", "turned by 90 degrees", "turned by 90 degrees",
    "mirrored and turned by 90 degrees",
)  # fmt: skip

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Rows of two images that show the same photograph; ``exact`` if the files are equal byte by byte."""

    first: int  # a row
    second: int  # a higher row
    exact: bool  # the files are equal
    likeness: float  # of their own details, 1 for equal ones
    turn: int = 0  # how the one lies to the other, a place in TURNS

    @property
    def how(self) -> str:
        """The pair in words."""
        if self.exact:
            return "equal files"
        return f"near copies, {TURNS[self.turn]}" if self.turn else "near copies"


def find_pairs(digests: Sequence[str], grey: NDArray[np.uint8]) -> list[Pair]:
    """Returns pairs of equal files (by SHA-256), each with the first of its kind, and of near copies of [N, SIDE,
    SIDE]."""
    pairs = [Pair(a, b, True, 1.0) for a, b in equal_pairs(digests)]
    others = {pair.second for pair in pairs}
    rows = np.asarray([row for row in range(len(digests)) if row not in others], dtype=np.int64)
    rows = rows[grey[rows].std((1, 2)) >= FLAT]
    if len(rows) < FEWEST:
        return pairs
    orders = _orders(grey[rows])
    near, turn = _nearest(orders)
    likeness, clear = _judged(*_agreements(orders, near, turn), np.where(turn, TURNED, HALF))
    found: dict[tuple[int, int], Pair] = {}
    for at, place in np.argwhere(clear):
        a, b = int(rows[at]), int(rows[near[at, place]])
        pair = Pair(min(a, b), max(a, b), False, float(likeness[at, place]), int(turn[at, place]))
        known = found.get((pair.first, pair.second))
        if known is None or known.likeness < pair.likeness:
            found[pair.first, pair.second] = pair
    return pairs + [found[key] for key in sorted(found)]


def _orders(grey: NDArray[np.uint8]) -> Array:
    """Returns the cosine transform of images, [N, HIGH, HIGH], without their mean."""
    parts = [
        dctn(grey[at : at + 512].astype(np.float32), axes=(1, 2), norm="ortho")[:, :HIGH, :HIGH] / SIDE
        for at in range(0, len(grey), 512)
    ]
    orders: Array = np.concatenate(parts)
    orders[:, 0, 0] = 0
    return orders


def _turned(orders: Array, turn: NDArray[np.int64]) -> Array:
    """Returns transforms [..., n, n] of images that are mirrored and turned as ``turn`` [...] says."""
    n = orders.shape[-1]
    odd = np.where(np.arange(n) % 2, np.float32(-1), np.float32(1))
    signs = np.stack(
        [np.ones((n, n), np.float32), np.tile(odd, (n, 1)), np.tile(odd[:, None], n), np.outer(odd, odd)]
    )
    made: Array = orders * signs[turn & 3]
    aside = (turn & 4) > 0
    made[aside] = made[aside].swapaxes(-1, -2)
    return made


def _nearest(orders: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the NEAR images most like each, the nearest first, and how each of them lies: [N, NEAR], twice.

    The sizes of the orders, those that trade places when an image is turned sorted, are the same however it lies.
    """
    low = orders[:, :LOW, :LOW]
    size = np.abs(low)
    upper = np.triu_indices(LOW)
    both = (np.minimum(size, size.swapaxes(1, 2)), np.maximum(size, size.swapaxes(1, 2)))
    however = np.concatenate([each[:, upper[0], upper[1]] for each in both], axis=1)
    n, k = len(orders), min(NEAR, len(orders) - 1)
    squares = (however**2).sum(1)
    near = np.empty((n, k), np.int64)
    turn = np.zeros((n, k), np.int64)

    def one(at: int) -> None:
        rows = slice(at, min(at + CHUNK, n))
        distance = squares[None] - 2 * however[rows] @ however.T
        distance[np.arange(rows.stop - at), np.arange(at, rows.stop)] = np.inf
        some = np.argpartition(distance, k - 1, axis=1)[:, :k]
        found = np.stack(
            [
                ((low[rows, None] - _turned(low[some], np.full(some.shape, way))) ** 2).sum((-1, -2))
                for way in range(len(TURNS))
            ]
        )
        order = np.argsort(found.min(0), axis=1)
        near[rows] = np.take_along_axis(some, order, axis=1)
        turn[rows] = np.take_along_axis(found.argmin(0), order, axis=1)

    in_threads(one, range(0, n, CHUNK), -1, "looking for copies")
    return near, turn


def _agreements(orders: Array, near: NDArray[np.int64], turn: NDArray[np.int64]) -> tuple[Array, Array]:
    """Compares each image with those nearest to it.

    Returns:
        How far their own details agree, -1..1, [SCALES, N, NEAR]: the median over the tiles that show something, of
        the correlation there; NaN where too few do. And by how much they differ, [N, NEAR], 1 for the median.
    """

    def details(rows: NDArray[np.int64]) -> Array:
        """Returns the details of images, and of those near them: [n, 1 + NEAR, HIGH * HIGH]."""
        others = _turned(orders[near[rows]], turn[rows])
        common = others[:, 2:].mean(1, keepdims=True)  # the first two may be copies
        own: Array = np.concatenate([orders[rows, None], others], axis=1) - common
        return own.reshape(len(rows), -1, HIGH * HIGH)

    step = max(1, len(orders) // SAMPLE)
    sample = np.concatenate(
        [
            details(part)[:, 0]
            for part in np.array_split(np.arange(0, len(orders), step), -(-len(orders) // CHUNK))
        ]
    )
    usual = 1.4826 * np.median(
        np.abs(sample), axis=0
    )  # that one image in ten is scratched here moves no median
    weight = (1 / np.sqrt(usual**2 + FLOOR**2)).astype(np.float32)
    modes = min(MODES, len(sample) // 8)
    ways = np.linalg.svd(sample * weight, full_matrices=False)[2][:modes].T
    found, apart = np.zeros((len(SCALES), *near.shape), np.float32), np.zeros(near.shape, np.float32)

    def one(at: int) -> None:
        rows = np.arange(at, min(at + CHUNK, len(orders)))
        own = details(rows)
        apart[rows] = np.sqrt(((own[:, :1] - own[:, 1:]) ** 2).sum(-1))
        own *= weight
        own -= (own @ ways) @ ways.T
        own = own.reshape(*own.shape[:2], HIGH, HIGH)
        for place, scale in enumerate(SCALES):
            found[place, rows] = _agreement_of_tiles(own[..., :scale, :scale])

    in_threads(one, range(0, len(orders), CHUNK), -1, "comparing details")
    apart /= np.maximum(np.median(apart, axis=1, keepdims=True), 1e-6)
    return found, apart


def _agreement_of_tiles(own: Array) -> Array:
    """Compares the first image of each row with the others: [n, 1 + k, S, S] to [n, k]."""
    n, k, side, _ = own.shape
    part = side // TILES
    shown = idctn(own, axes=(2, 3), norm="ortho").reshape(n, k, TILES, part, TILES, part)
    tiles = shown.swapaxes(3, 4).reshape(n, k, TILES**2, part**2)
    energy = (tiles**2).mean(-1)
    first, others = tiles[:, :1], tiles[:, 1:]
    between = (first * others).mean(-1) / np.sqrt(energy[:, :1] * energy[:, 1:] + 1e-12)
    telling = (energy[:, :1] > EMPTY) & (energy[:, 1:] > EMPTY)
    between[~telling] = np.nan
    enough = telling.sum(-1) >= FEWEST_TILES
    agreement: Array = np.nanmedian(np.where(enough[..., None], between, 0), axis=-1)
    agreement[~enough] = np.nan
    return agreement


def _judged(agreement: Array, apart: Array, most: NDArray[np.float64]) -> tuple[Array, NDArray[np.bool_]]:
    """Returns the agreement of each image with those near it, and where it is that of a copy: [N, NEAR], twice.

    It must be clear of what all images of this data and their nearest agree by, and of what this image does with the
    most of those near it: some may be of one series. ``most`` [N, NEAR] is how far a copy may differ.
    """
    z = np.arctanh(agreement.clip(-0.9999, 0.9999))

    def spread(axis: tuple[int, ...]) -> tuple[Array, Array]:
        middle = np.nanmedian(z, axis, keepdims=True)
        return middle, 1.4826 * np.nanmedian(np.abs(z - middle), axis, keepdims=True)

    (all_, of_all), (own, of_own) = spread((1, 2)), spread((2,))
    many = np.isfinite(agreement).mean(2, keepdims=True) > 0.5
    clear = (z - np.fmax(all_, own)) / np.fmax(np.fmax(of_all, of_own), 0.02)
    copies = many & (clear >= CLEAR) & (agreement >= SAME) & (apart <= most)
    return np.where(copies, agreement, -1).max(0), copies.any(0)
