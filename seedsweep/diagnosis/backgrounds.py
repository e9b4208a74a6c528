"""Do few images each share one background? Where names tell nothing, such images may be of one photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

RIM = 2  # of a thumbnail's pixels, on each side
MOST = 3000  # images that are compared, drawn
NEAR = 0.1  # of the median distance of two images' rims: two of one background
COMMON = 0.1  # share of the images on one background from which on it is the background of all
RECURRING = 0.3  # share of the images on a background that recurs, worth a word


def backgrounds_that_recur(small: NDArray[np.uint8]) -> float:
    """Returns the share (0..1) of thumbnails [N, side, side, 3] on a background of at least 3 and at most a tenth of
    them."""
    if len(small) > MOST:
        small = small[np.sort(np.random.default_rng(0).permutation(len(small))[:MOST])]
    rim = np.ones(small.shape[1:3], dtype=bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    x = small[:, rim].reshape(len(small), -1).astype(np.float32)
    squares = (x**2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0))
    pairs = np.argwhere(distance < NEAR * np.median(distance))
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=distance.shape)
    _, number = connected_components(graph, directed=False)
    sizes = np.bincount(number)[number]
    return float(((sizes >= 3) & (sizes <= COMMON * len(small))).mean())
