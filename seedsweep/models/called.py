"""The names of settings, found from their values: a choice's own name stays when single values are changed."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cache
from typing import Any

import yaml

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.data.options import AugmentConfig
from seedsweep.models.options import PreprocessConfig
from seedsweep.names import conf_dir
from seedsweep.overrides import short_setting

Named = AugmentConfig | BatchNormConfig | PreprocessConfig
NONE, CUSTOM = "none", "custom"
GROUPS: dict[str, type[Named]] = {
    "augment": AugmentConfig,
    "batchnorm": BatchNormConfig,
    "preprocess": PreprocessConfig,
}


def augment_called(config: AugmentConfig) -> str:
    """Returns the choice of conf/augment with these values, ``none`` only where nothing acts, or custom (...)."""
    return NONE if not acting(config) else _called("augment", config, acting(config))


def batchnorm_called(config: BatchNormConfig) -> str:
    """Returns the policy of conf/batchnorm with these switches, or custom (...) with them."""
    return _called("batchnorm", config, _values(config))


def preprocess_called(config: PreprocessConfig) -> str:
    """Returns the choice of conf/preprocess with these switches, or custom (...) with them."""
    return _called("preprocess", config, _values(config))


def acting(config: AugmentConfig) -> dict[str, Any]:
    """Returns the values of an augmentation that change an image; empty: it changes none."""
    values = _values(config)
    return {
        key: values[key] for key in values if values[key] not in (False, 0, NONE) and values[key] != [0, 0]
    }


def _values(config: Named) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key != "name"}


def _called(group: str, config: Named, shown: dict[str, Any]) -> str:
    name = next((name for name, known in _shipped(group) if known == _values(config)), None)
    return name or f"{CUSTOM} ({', '.join(short_setting(key, value) for key, value in shown.items())})"


@cache
def _shipped(group: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Returns the choices of a group that seedsweep brings, with all their values."""
    known = {field.name for field in fields(GROUPS[group])}
    found = []
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        made = GROUPS[group](**{key: value for key, value in content.items() if key in known})
        found.append((path.stem, _values(made)))
    return tuple(found)
