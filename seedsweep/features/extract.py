"""One pass of the frozen net over the images that have no features yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.threads import image_bar, load_and_compute
from seedsweep.errors import SeedsweepError
from seedsweep.features.engines import Engine
from seedsweep.features.store import View

log = logging.getLogger(__name__)

# what is gathered, and may still be gathered while it is stored: a killed process loses at most both, and what was
# under way. The longer of the two,
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
        view: where they go.
        images: SHA-256 of the files.
        load: images to float32 or uint8 pixels [B, 3, H, W], warped as the view wants; called in threads.
        engine: makes what turns pixels into features; called if there is something to do.
        batch: images a pass.
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
    started = time.perf_counter()

    def answer(pixels: Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = engine(pixels).float().cpu().numpy()
        return features

    shelf = _Shelf(view, dtype, len(missing))
    with image_bar("features") as progress:
        bar = progress.add_task("", total=len(missing))
        try:
            for some, _, features in load_and_compute(missing, load, batch, answer, engine.at_once):
                shelf.put(some, features)
                progress.advance(bar, len(some))
        finally:  # a file that can't be read any more keeps what is there; Ctrl-C loses the batches under way
            shelf.close()
    seconds = time.perf_counter() - started
    log.info(
        "features: %d images in %.1f s (%.1f images/s, %s) -> %s",
        len(missing), seconds, len(missing) / seconds, engine.name, view.folder,
    )  # fmt: skip


class _Shelf:
    """Gathers batches to shards, and stores one while the next is gathered: a GPU need not wait for the disk."""

    def __init__(self, view: View, dtype: str, images: int) -> None:
        self._view, self._dtype = view, dtype
        self._left = images  # to come
        self._names: list[str] = []
        self._parts: list[NDArray[np.float32]] = []
        self._bytes = 0
        self._since = time.perf_counter()
        self._thread = ThreadPoolExecutor(1)
        self._stored: Future[None] | None = None

    def put(self, images: list[str], features: NDArray[np.float32]) -> None:
        """Takes a batch; raises what storing an earlier one raised."""
        self._names += images
        self._parts.append(features)
        self._bytes += features.nbytes
        self._left -= len(images)
        if self._full():
            self._flush()

    def close(self) -> None:
        """Stores what is left; raises what storing raised."""
        with self._thread:
            if self._names:
                self._flush()
            self._wait()

    def _full(self) -> bool:
        if self._bytes >= SHARD_BYTES or self._left == 0:
            return True
        return len(self._names) >= SHARD_IMAGES and time.perf_counter() - self._since >= SHARD_SECONDS

    def _flush(self) -> None:
        self._wait()  # interrupted or failed, it leaves what was gathered to close()
        names, parts = self._names, self._parts
        self._names, self._parts, self._bytes = [], [], 0
        self._stored = self._thread.submit(self._store, names, parts)
        self._since = time.perf_counter()

    def _wait(self) -> None:
        stored = self._stored
        if stored is not None:
            wait([stored])
            self._stored = None
            stored.result()

    def _store(self, names: list[str], parts: list[NDArray[np.float32]]) -> None:
        features = np.concatenate(parts)
        parts.clear()
        self._view.add(names, _cast(features, self._dtype))


def _cast(features: NDArray[np.float32], dtype: str) -> NDArray[np.floating]:
    if dtype == "float16":
        largest = float(np.abs(features).max(initial=0))
        if float(np.finfo(np.float16).max) < largest < np.inf:
            raise SeedsweepError(
                f"features.dtype=float16 can't hold features up to {largest:.3g}: take features.dtype=float32."
            )
    return features.astype(dtype, copy=False)
