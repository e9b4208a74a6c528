"""What the benchmarks share: a figure's row, ratios taken pair by pair, a configuration."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir

from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.cli.config.schema import Config
from seedsweep.names import conf_dir


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, its goal in words ("" if it has none), one value a round."""

    figure: str
    goal: str
    values: list[float]

    def cells(self) -> list[str]:
        """Figure, goal, median, range."""
        n = len(self.values)
        spread = (
            f"{_short(min(self.values))} to {_short(max(self.values))} ({n} rounds)" if n > 1 else "one round"
        )
        return [self.figure, self.goal, _short(statistics.median(self.values)), spread]


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def small() -> bool:
    """Whether to measure next to nothing, to see that all works (``python benchmarks --small``)."""
    return os.environ.get("SEEDSWEEP_BENCH_SMALL") == "1"


def rounds(n: int) -> int:
    return 1 if small() else n


def config(*overrides: str) -> Config:
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_config(compose("config", list(overrides)))


def interleaved(*sides: Callable[[], float], n: int) -> list[list[float]]:
    """Runs all sides in turn, every other round backwards, so that a machine that slows down slows all of them.

    Args:
        sides: each returns its seconds.
        n: rounds.

    Returns:
        The seconds of each side, round by round.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(n):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            seconds[side].append(sides[side]())
    return seconds


def quotients(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def cache_dir() -> Path:
    folder = Path(config().paths.cache).expanduser()
    folder.mkdir(parents=True, exist_ok=True)  # on a fresh machine nothing made it yet
    return folder


@contextlib.contextmanager
def empty_store() -> Iterator[Path]:
    """A folder whose cache holds photographs and weights, and nothing that a run computes."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        for part in cache_dir().iterdir():
            if part.name not in ("features", "statistics"):
                (cache / part.name).symlink_to(part)
        yield Path(folder)
