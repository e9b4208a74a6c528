"""The grid of ``make demo`` with and without stored features, as commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from shared import Row, cache_dir, config, empty_store, interleaved, quotients, rounds, small

from seedsweep.data.prepare import prepare_images


def grid(mode: str) -> float:
    """Seconds of the grid into an empty store: start, features, pictures and report included."""
    with empty_store() as folder:
        command = [
            sys.executable,
            "-m",
            "seedsweep",
            "-m",
            "+sweep=demo",
            f"features={mode}",
            "paths.cache=cache",
        ]
        if small():
            command += ["data.demo.n_images=140", "trainer.max_epochs=1", "data.image_size=[64,64]"]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - started


def figures() -> Iterator[Row]:
    prepare_images(config().data, cache_dir())  # draws the photographs
    stored, online = interleaved(lambda: grid("auto"), lambda: grid("off"), n=rounds(2))
    yield Row("the grid of make demo: with features=off / as it is", ">= 1", quotients(online, stored))
    yield Row("the grid of make demo, seconds", "", stored)
