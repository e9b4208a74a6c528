"""Applies a finding's remedy, a list of overrides, to a configuration without Hydra."""

from __future__ import annotations

import copy
from dataclasses import asdict, is_dataclass
from typing import Any

from omegaconf import OmegaConf

from seedsweep.config.location import conf_dir
from seedsweep.config.schema import Config

REHEARSABLE = ("batchnorm", "preprocess", "optim", "head", "data.batch_size", "trainer.max_epochs")
"""What a head trained anew on stored features can tell the worth of."""


def apply(config: Config, remedy: list[str]) -> Config:
    """Returns a copy of ``config`` with the overrides ``GROUP=CHOICE`` and ``KEY=VALUE`` applied.

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
    return made


def rehearsable(remedy: list[str]) -> bool:
    """Says whether the remedy's worth can be measured on stored features."""
    return bool(remedy) and all(
        any(line.split("=")[0] == key or line.startswith(f"{key}.") for key in REHEARSABLE) for line in remedy
    )


def changes(config: Config, remedy: list[str]) -> bool:
    """Says whether the remedy sets anything that ``config`` doesn't have already."""
    return asdict(apply(config, remedy)) != asdict(config)
