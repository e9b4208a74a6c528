"""One pass of the frozen net over the images that have no features yet."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

from seedsweep.engines.base import Engine
from seedsweep.features.store import View

log = logging.getLogger(__name__)

SHARD_IMAGES = 256  # what a killed process loses at most
AHEAD = 3  # batches decoded while the engine works

Load = Callable[[Sequence[str]], Tensor]


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} images/s")


def extract(view: View, images: Sequence[str], load: Load, engine: Engine, batch: int, dtype: str) -> int:
    """Fills ``view`` with the features of ``images`` that it lacks.

    Only one process does so at a time; what a killed one had stored is kept.

    Args:
        view: where they go.
        images: SHA-256 of the files.
        load: images to float32 or uint8 pixels [B, 3, H, W], warped as the view wants; called in threads.
        engine: pixels to features.
        batch: images a pass.
        dtype: float32 or float16.

    Returns:
        The number of images extracted.

    Raises:
        OSError: the disk is full, or can't be written.
    """
    if not view.missing(images):
        return 0
    with view.locked():
        missing = view.missing(images)
        if not missing:
            return 0
        started = time.perf_counter()
        names: list[str] = []
        parts: list[np.ndarray] = []

        def flush() -> None:
            if names:
                view.add(list(names), np.concatenate(parts).astype(dtype, copy=False))
                names.clear()
                parts.clear()

        columns = (TextColumn("features"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress:
            bar = progress.add_task("", total=len(missing))
            try:
                for some, pixels in _loaded(missing, load, batch):
                    parts.append(engine(pixels).float().cpu().numpy())
                    names += some
                    progress.advance(bar, len(some))
                    if len(names) >= SHARD_IMAGES:
                        flush()
            finally:  # Ctrl-C keeps what is there
                flush()
        view.load()
        seconds = time.perf_counter() - started
        log.info(
            "features: %d images in %.1f s (%.1f images/s, %s) -> %s",
            len(missing), seconds, len(missing) / seconds, engine.name, view.folder,
        )  # fmt: skip
        return len(missing)


def _loaded(images: Sequence[str], load: Load, batch: int) -> Iterator[tuple[list[str], Tensor]]:
    """Yields batches in order, decoded ahead in threads (Pillow works outside Python's lock)."""
    batches = (list(images[at : at + batch]) for at in range(0, len(images), batch))
    with ThreadPoolExecutor(max(1, min(AHEAD, os.cpu_count() or 1))) as pool:
        waiting: list[tuple[list[str], Future[Tensor]]] = []
        for some in islice(batches, AHEAD):
            waiting.append((some, pool.submit(load, some)))
        while waiting:
            some, future = waiting.pop(0)
            following = next(batches, None)
            if following is not None:
                waiting.append((following, pool.submit(load, following)))
            yield some, future.result()
