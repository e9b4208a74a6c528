"""The command line that a run or a grid was made with, as Hydra recorded it, and what a grid varies."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seedsweep.errors import DamagedError
from seedsweep.names import printable
from seedsweep.overrides import CONFIG, key_of
from seedsweep.whole import replacing

GRID, SINGLE = Path("multirun.yaml"), Path(".hydra") / "hydra.yaml"
COPY = Path(".multirun.yaml")  # for a kill while Hydra writes the other
UNREADABLE = (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError, HydraException)
# of the one time that was recorded
NOT_AGAIN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode", "resume", "budget", "forecast")

# swept keys that don't name an arm
REPEATS = ("seed", "data.fold")  # swept keys that make no arm
UNLABELLED = (*REPEATS, "experiment", "experiment.name", "rung", "sweep", "resume")

Read = TypeVar("Read")

# in C, ten times as fast; not every build of PyYAML has it
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Recorded:
    """What was said."""

    config_dirs: list[str]  # of ``--config-dir``
    overrides: list[str]  # in their order, as they were written, less what must not be given again
    config_name: str = CONFIG  # of ``--config-name``

    @property
    def options(self) -> list[str]:
        """Returns the arguments that stand before the overrides."""
        named = [] if self.config_name == CONFIG else ["--config-name", self.config_name]
        return [*(part for folder in self.config_dirs for part in ("--config-dir", folder)), *named]


def read_recorded(path: Path) -> Recorded:
    """Reads a grid's multirun.yaml or a run's .hydra/hydra.yaml.

    Raises:
        DamagedError: the file can't be read, or was not written by Hydra.
    """
    try:
        return read_whole(path, _recorded)
    except UNREADABLE as error:
        raise DamagedError(
            f"{path} was not written by Hydra, or is damaged, and resume= needs it: put back a copy of it, or begin "
            "anew with the settings as you gave them, in another folder."
        ) from error


def read_whole(path: Path, read: Callable[[Any], Read]) -> Read:
    """Returns what ``read`` makes of Hydra's part of a file; of a damaged multirun.yaml's copy if there is one.

    The file is read as plain YAML: OmegaConf would put values in the place of ``${...}``.

    Raises:
        Exception: one of UNREADABLE, about ``path`` itself.
    """
    try:
        return read(_content(path)["hydra"])
    except UNREADABLE:
        if path.name == str(GRID):
            with suppress(*UNREADABLE):
                return read(_content(path.with_name(str(COPY)))["hydra"])
        raise


def _content(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):  # a part of a line can be a value
        raise ValueError(f"{path} ends within a line")
    try:
        return yaml.load(text, LOADER)
    except yaml.YAMLError:  # the one in C refuses how bytes are written that are no UTF-8: of a folder's name
        return yaml.load(text, yaml.SafeLoader)


def write_copy(config: DictConfig, grid: Path) -> None:
    """Writes the copy of multirun.yaml, whole or not at all, before Hydra writes the file itself in place."""
    with replacing(grid / COPY) as part:
        part.write_text(OmegaConf.to_yaml(config), encoding="utf-8")


def _recorded(hydra: Any) -> Recorded:
    overrides = [str(o) for o in [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]]
    name = str((hydra.get("job") or {}).get("config_name") or CONFIG)
    sources = hydra["runtime"]["config_sources"]
    folders = [str(source["path"]) for source in sources if source["provider"] == "command-line"]
    return Recorded(folders, [o for o in overrides if key_of(o) not in NOT_AGAIN], name)


def arm_label(experiment: str, overrides: list[str], swept: set[str]) -> str:
    """Names an arm: its experiment, and what else the grid varies besides the seed."""
    parts = [experiment]
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key in swept and key not in UNLABELLED:
            parts.append(f"{key}={override.get_value_element_as_str()}")
    return printable(" ".join(parts))


def varied(grid: Path) -> dict[str, Override]:
    """Returns the swept overrides by key, from the multirun.yaml that Hydra writes before the first job."""
    path = grid / GRID
    if not path.is_file():
        return {}
    try:
        last = read_whole(path, _last)
    except UNREADABLE as error:
        raise DamagedError(f"{path} is damaged: put back a copy of it, or begin the grid anew.") from error
    return {key: override for key, override in last.items() if override.is_sweep_override()}


def _last(hydra: Any) -> dict[str, Override]:
    params = hydra["sweeper"].get("params") or {}
    lines = [*[f"{key}={value}" for key, value in params.items()], *hydra["overrides"]["task"]]
    return {o.key_or_group: o for o in OverridesParser.create().parse_overrides(lines)}


def count(swept: dict[str, Override]) -> int | None:
    """Returns the number of jobs; None if only the sweeper knows it."""
    try:
        return math.prod(len(list(override.sweep_string_iterator())) for override in swept.values())
    except (HydraException, AssertionError):  # glob(...) and interval(...)
        return None
