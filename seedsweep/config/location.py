"""Where ``conf/`` lies (beside the package in a checkout, inside it in an installed wheel), the cache, the studies."""

from __future__ import annotations

from pathlib import Path

import seedsweep
from seedsweep.config.schema import Config
from seedsweep.names import path_of


def conf_dir() -> Path:
    """Returns the folder of the YAML files, absolute."""
    package = Path(seedsweep.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def cache_of(config: Config) -> Path:
    """Returns the folder of features, statistics and demo photographs."""
    return path_of(config.paths.cache)


def studies_of(config: Config) -> Path:
    """Returns the folder that holds a folder a study."""
    return Path(config.paths.outputs) / "studies"


def study_of(config: Config) -> Path:
    """Returns the folder of the study that ``study.name`` names, absolute."""
    return (studies_of(config) / config.study.name).absolute()
