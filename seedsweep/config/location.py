"""Where ``conf/`` lies, beside the package in a checkout and inside it in an installed wheel; and the cache."""

from __future__ import annotations

from pathlib import Path

import seedsweep
from seedsweep.config.schema import Config


def conf_dir() -> Path:
    """Returns the folder of the YAML files, absolute."""
    package = Path(seedsweep.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def cache_of(config: Config) -> Path:
    """Returns the folder of features, statistics and demo photographs."""
    return Path(config.paths.cache).expanduser()
