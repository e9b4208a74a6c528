"""Where the studies are."""

from __future__ import annotations

from pathlib import Path

from seedsweep.config.schema import Config


def studies_of(config: Config) -> Path:
    """Returns the folder that holds a folder a study."""
    return Path(config.paths.outputs) / "studies"


def study_of(config: Config) -> Path:
    """Returns the folder of the study that ``study.name`` names, absolute."""
    return (studies_of(config) / config.study.name).absolute()
