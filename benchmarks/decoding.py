"""Reading one JPEG at the size of the net: ours / Pillow's decoder and its resize, without reduced-size decode."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from shared import Row, interleaved, quotients, rounds, small

from seedsweep.data.images import read_image

SIZE = (224, 224)
SECONDS = 1.0  # a side and round


def photo(width: int, height: int) -> Image.Image:
    """Blots with grain: compresses about as a photograph does."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))
    return Image.blend(coarse, grain.filter(ImageFilter.GaussianBlur(1)), 0.15)


def pillow(path: Path) -> None:
    with Image.open(path) as image:
        np.asarray(image.convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR))


def seconds_of(one: Callable[[Path], object], path: Path, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        one(path)
    return time.perf_counter() - started


def figures() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for side in (130, 500, 2000):
            path = Path(folder) / f"{side}.jpg"
            photo(side, side * 4 // 5).save(path, quality=88)
            times = max(1, int((0.05 if small() else SECONDS) / max(seconds_of(pillow, path, 2) / 2, 1e-4)))
            mine, theirs = interleaved(
                lambda p=path, t=times: seconds_of(lambda q: read_image(q, SIZE), p, t),
                lambda p=path, t=times: seconds_of(pillow, p, t),
                n=rounds(3),
            )
            what = f"a JPEG of {side} x {side * 4 // 5} pixels to {SIZE[0]}x{SIZE[1]}"
            yield Row(f"{what}: Pillow alone / ours", "", quotients(theirs, mine))
