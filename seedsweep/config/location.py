"""Where the cache and the studies are."""

from __future__ import annotations

from pathlib import Path

from seedsweep.config.schema import Config
from seedsweep.names import path_of
from seedsweep.training.options import ArmSettings


def cache_of(config: ArmSettings) -> Path:
    """Returns the folder of features, statistics and demo photographs."""
    return path_of(config.paths.cache)


def studies_of(config: Config) -> Path:
    """Returns the folder that holds a folder a study."""
    return Path(config.paths.outputs) / "studies"


def study_of(config: Config) -> Path:
    """Returns the folder of the study that ``study.name`` names, absolute."""
    return (studies_of(config) / config.study.name).absolute()
