"""What the benchmarks share: a configuration, JPEG files, and a table of ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir

from seedsweep.config.location import conf_dir
from seedsweep.config.schema import Config
from seedsweep.config.store import register_schema, to_config


def config(*overrides: str) -> Config:
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_config(compose("config", list(overrides)))


def ratios(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> list[float]:
    """Runs both in turn; returns theirs / ours of each pair, times in seconds."""
    found = []
    for number in range(rounds):
        if number % 2:
            a = ours()
            b = theirs()
        else:
            b = theirs()
            a = ours()
        found.append(b / a)
    return found


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def cache_dir() -> Path:
    return Path("~/.cache/seedsweep").expanduser()
