"""The command line that a run or a grid was made with, as Hydra recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seedsweep.config.compose import CONFIG
from seedsweep.config.groups import key_of
from seedsweep.errors import DamagedError

GRID, SINGLE = Path("multirun.yaml"), Path(".hydra") / "hydra.yaml"
NOT_AGAIN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode", "resume")  # of the one time that was recorded


@dataclass(frozen=True)
class Recorded:
    """What was said.

    Attributes:
        config_dirs: of ``--config-dir``.
        overrides: in their order, as they were written, less what must not be said again.
        config_name: of ``--config-name``.
    """

    config_dirs: list[str]
    overrides: list[str]
    config_name: str = CONFIG

    @property
    def options(self) -> list[str]:
        """Returns the arguments that stand before the overrides."""
        named = [] if self.config_name == CONFIG else ["--config-name", self.config_name]
        return [*(part for folder in self.config_dirs for part in ("--config-dir", folder)), *named]


def read_recorded(path: Path) -> Recorded:
    """Reads a grid's multirun.yaml or a run's .hydra/hydra.yaml.

    The file is read as plain YAML: OmegaConf would put values in the place of ``${...}``.

    Raises:
        SeedsweepError: the file can't be read, or was not written by Hydra.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
        hydra = content["hydra"]
        overrides = [str(o) for o in [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]]
        sources = hydra["runtime"]["config_sources"]
        name = str((hydra.get("job") or {}).get("config_name") or CONFIG)
        folders = [str(source["path"]) for source in sources if source["provider"] == "command-line"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{path} was not written by Hydra, or is damaged, and resume= needs it: put back a copy of it, or begin "
            "anew with the settings as you gave them, in another folder."
        ) from error
    return Recorded(folders, [o for o in overrides if key_of(o) not in NOT_AGAIN], name)
