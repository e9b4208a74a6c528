"""A finding's remedy, a list of overrides: applied to a configuration, and proved before it is printed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import all_finite
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.overrides import short_setting
from seedsweep.training.effective import name_by_values
from seedsweep.training.options import ArmSettings

REHEARSABLE = ("batchnorm", "preprocess", "optim", "head", "data.batch_size", "trainer.max_epochs")
"""What a head trained anew on stored features can tell the worth of."""


def apply(config: ArmSettings, remedy: list[str]) -> ArmSettings:
    """Returns a copy of ``config`` with the overrides ``GROUP=CHOICE`` and ``KEY=VALUE`` applied, named as it is then.

    Raises:
        AttributeError: no such key.
        OSError: no such choice.
    """
    made = copy.deepcopy(config)
    for line in remedy:
        key, _, value = line.partition("=")
        *path, name = key.split(".")
        owner: Any = made
        for part in path:
            owner = getattr(owner, part)
        current = getattr(owner, name)
        if is_dataclass(current) and not isinstance(current, type):
            content = OmegaConf.to_container(OmegaConf.load(conf_dir() / key / f"{value}.yaml"))
            assert isinstance(content, dict)
            setattr(owner, name, type(current)(**{str(field): content[field] for field in content}))
        else:
            setattr(owner, name, OmegaConf.from_dotlist([f"value={value}"])["value"])
    name_by_values(made)
    return made


def rehearsable(remedy: list[str]) -> bool:
    """Says whether the remedy's worth can be measured on stored features."""
    return bool(remedy) and all(
        any(line.split("=")[0] == key or line.startswith(f"{key}.") for key in REHEARSABLE) for line in remedy
    )


def changes(config: ArmSettings, remedy: list[str]) -> bool:
    """Says whether the remedy sets anything that ``config`` doesn't have already, whatever that is called."""
    return _content(apply(config, remedy)) != _content(apply(config, []))


class CommandLine(Protocol):
    """The command line of a run: what a remedy must hold against."""

    def composed(self, lines: Sequence[str] = ()) -> ArmSettings | None:
        """Returns what it comes to with ``lines`` after it; None where that is no configuration."""
        ...


def arm_settings(content: DictConfig) -> ArmSettings:
    """Returns the settings of an arm in a saved configuration.

    Raises:
        SeedsweepError: a value is out of bounds.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    plain = OmegaConf.to_container(content, resolve=True)
    assert isinstance(plain, dict)
    own = {each.name: plain[each.name] for each in fields(ArmSettings) if each.name in plain}
    made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ArmSettings), own))
    assert isinstance(made, ArmSettings)
    all_finite(made)
    return made


def saved_whole(folder: Path) -> ArmSettings | None:
    """Returns the settings that a run left in its folder; None where they can't be read or some are missing."""
    try:
        content = OmegaConf.load(folder / ".hydra" / "config.yaml")
        whole = isinstance(content, DictConfig) and set(content) >= {
            each.name for each in fields(ArmSettings)
        }
        return arm_settings(content) if whole else None  # type: ignore[arg-type]
    except (OSError, yaml.YAMLError, OmegaConfBaseException, SeedsweepError, ValueError):
        return None


def proved(remedy: list[str], config: ArmSettings | None, said: CommandLine | None) -> list[str]:
    """Returns overrides that bring about what ``remedy`` says where they are added to a run's command line.

    A choice of a group comes before all single values, so a value that the command line (or its experiment) gives
    wins over it: single values are returned then.

    Args:
        remedy: overrides.
        config: of the run; None: what ``said`` comes to.
        said: its command line; None: not known, and nothing of it can stand in the way.

    Returns:
        Empty: the run has these settings already, or nothing was found that changes them.
    """
    config = config if config is not None or said is None else said.composed()
    if not remedy or config is None or not changes(config, remedy):
        return []
    if said is None:
        return remedy
    before, wanted = _content(apply(config, [])), _content(apply(config, remedy))
    values = [
        short_setting(f"{section}.{key}", value)
        for section, content in wanted.items()
        if isinstance(content, dict)
        for key, value in content.items()
        if value != before[section][key]
    ]
    for lines in (remedy, values):
        made = said.composed(lines)
        if made is not None and _agree(before, wanted, _content(made)):
            return lines
    return []


def _content(config: ArmSettings) -> dict[str, Any]:
    """Returns all settings but the names of sections that are names only."""
    content = asdict(config)
    for section in ("augment", "batchnorm", "preprocess"):
        del content[section]["name"]
    return content


def _agree(before: dict[str, Any], wanted: dict[str, Any], made: dict[str, Any]) -> bool:
    """Says whether ``made`` has every setting in which ``wanted`` differs from ``before``."""
    return all(
        made[section] == wanted[section]
        if not isinstance(wanted[section], dict)
        else all(
            made[section][key] == value
            for key, value in wanted[section].items()
            if value != before[section][key]
        )
        for section in wanted
        if wanted[section] != before[section]
    )
