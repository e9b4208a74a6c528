"""Brightness, contrast, sharpness and other plain numbers of images, by which one split may differ from another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAMES = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "poorer in contrast"),
    "sharpness": ("sharper", "less sharp"),
    "colour": ("more colourful", "paler"),
    "fill": (
        "filled more by the object (cropped, or nearer)",
        "filled less by the object (wider, or farther)",
    ),
    "rim": ("busier at the rim", "plainer at the rim"),
    "file size": ("of more pixels in the file", "of fewer pixels in the file"),
    "shape": ("wider in shape", "taller in shape"),
}
"""What is measured, and how images are called that have more or less of it."""
RIM = 1 / 16  # of a side
APART = 20.0  # of 255: a pixel that differs so from the rim's colour shows the object


def plain_statistics(
    pixels: NDArray[np.uint8 | np.float32], sides: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns [n, 8], a column for each of ``NAMES``, of pixels [n, 3, H, W], 0..255, and the files' sides [n, 2]."""
    x = pixels.astype(np.float32)
    grey = x.mean(1)
    spread = grey.std((1, 2))
    inner = grey[:, 1:-1, 1:-1]
    edges = 4 * inner - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    width = max(1, round(RIM * min(grey.shape[1:])))
    outside = np.ones(grey.shape[1:], dtype=bool)
    outside[width:-width, width:-width] = False
    rim = x[:, :, outside]
    object_there = np.abs(x - np.median(rim, 2)[:, :, None, None]).mean(1) > APART
    return np.stack(
        [
            np.log1p(grey.mean((1, 2))),
            np.log1p(spread),
            np.log(edges.std((1, 2)) / (spread + 1) + 1e-3),  # of the contrast: darker is not less sharp
            np.log1p((x.max(1) - x.min(1)).mean((1, 2))),
            object_there.mean((1, 2)),
            np.log1p(rim.std(2).mean(1)),
            np.log(sides.prod(1)),
            np.log(sides[:, 0] / sides[:, 1]),
        ],
        1,
    ).astype(np.float64)
