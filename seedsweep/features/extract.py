"""One pass of the frozen net over the images that have no features yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.threads import image_bar, load_and_compute
from seedsweep.errors import SeedsweepError
from seedsweep.features.engines import Engine
from seedsweep.features.feature_store import View

log = logging.getLogger(__name__)

# what is gathered before it is stored, the longer of the two; a killed process loses that and the batches under way
SHARD_IMAGES, SHARD_SECONDS = 256, 1.0
SHARD_BYTES = 64 * 2**20  # but no more than this, for it waits in memory (activations [C, h, w] are large)
ATTEMPTS = 3  # of a store from which others take what was just written

Load = Callable[[Sequence[str]], Tensor]


def extract(
    view: View, images: Sequence[str], load: Load, engine: Callable[[], Engine], batch: int, dtype: str
) -> int:
    """Fills ``view`` with the features of ``images`` that it lacks.

    Only one process does so at a time; what a killed one had stored is kept.

    Args:
        images: SHA-256 of the files.
        load: images to float32 or uint8 pixels [B, 3, H, W], warped as the view wants; called in threads.
        engine: makes what turns pixels into features; called if there is something to do.
        dtype: float32 or float16.

    Returns:
        The number of images extracted.

    Raises:
        OSError: the disk is full, can't be written, or does not keep what is written.
        SeedsweepError: a feature is too large for float16.
    """
    extracted = 0
    for _ in range(ATTEMPTS):
        if not view.missing(images):
            return extracted
        with view.locked():
            missing = view.missing(images)
            if missing:
                if len(missing) < len(images):
                    log.info("features: %d of %d images have theirs", len(images) - len(missing), len(images))
                _fill(view, missing, load, engine(), batch, dtype)
                extracted += len(missing)
                view.load()
    if view.missing(images):
        raise OSError(f"{view.folder} does not keep what is written there")
    return extracted


def _fill(view: View, missing: list[str], load: Load, engine: Engine, batch: int, dtype: str) -> None:
    """Computes features in threads, and stores them as shards whenever enough of them are gathered."""
    started = stored = time.perf_counter()
    left = len(missing)
    names: list[str] = []
    parts: list[NDArray[np.float32]] = []

    def compute(pixels: Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = engine(pixels).float().cpu().numpy()
        return features

    def store() -> None:
        """Stores what is gathered; interrupted or failed, it keeps that for the next call."""
        if names:
            view.add(list(names), _cast(np.concatenate(parts), dtype))
            names.clear()
            parts.clear()

    with image_bar("features") as progress:
        bar = progress.add_task("", total=len(missing))
        try:
            for some, _, features in load_and_compute(missing, load, batch, compute, engine.at_once):
                names += some
                parts.append(features)
                left -= len(some)
                late = time.perf_counter() - stored >= SHARD_SECONDS and len(names) >= SHARD_IMAGES
                if late or left == 0 or sum(part.nbytes for part in parts) >= SHARD_BYTES:
                    store()
                    stored = time.perf_counter()
                progress.advance(bar, len(some))
        finally:  # a file that can't be read any more keeps what is there; Ctrl-C loses the batches under way
            store()
    seconds = time.perf_counter() - started
    log.info(
        "features: %d images in %.1f s (%.1f images/s, %s) -> %s",
        len(missing), seconds, len(missing) / seconds, engine.name, view.folder,
    )  # fmt: skip


def _cast(features: NDArray[np.float32], dtype: str) -> NDArray[np.floating]:
    if dtype == "float16":
        largest = float(np.abs(features).max(initial=0))
        if float(np.finfo(np.float16).max) < largest < np.inf:
            raise SeedsweepError(
                f"features.dtype=float16 can't hold features up to {largest:.3g}: take features.dtype=float32."
            )
    return features.astype(dtype, copy=False)
