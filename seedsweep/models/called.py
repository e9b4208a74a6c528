"""What settings are called: by what they do.

The name of a choice says what its settings were before single ones of them were changed.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cache
from typing import Any

import yaml

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.data.options import AugmentConfig
from seedsweep.models.options import PreprocessConfig
from seedsweep.names import conf_dir
from seedsweep.overrides import setting

NONE, CUSTOM = "none", "custom"
GROUPS: dict[str, type[AugmentConfig | BatchNormConfig | PreprocessConfig]] = {
    "augment": AugmentConfig,
    "batchnorm": BatchNormConfig,
    "preprocess": PreprocessConfig,
}


def augment_called(config: AugmentConfig) -> str:
    """Returns the choice of conf/augment with these values, ``none`` only where nothing acts, or custom (...)."""
    return NONE if not acting(config) else _called("augment", asdict(config), acting(config))


def batchnorm_called(config: BatchNormConfig) -> str:
    """Returns the policy of conf/batchnorm with these switches, or custom (...) with them."""
    return _called("batchnorm", asdict(config), _values(config))


def preprocess_called(config: PreprocessConfig) -> str:
    """Returns the choice of conf/preprocess with these switches, or custom (...) with them."""
    return _called("preprocess", asdict(config), _values(config))


def acting(config: AugmentConfig) -> dict[str, Any]:
    """Returns the values of an augmentation that change an image; empty: it changes none."""
    return {key: value for key, value in _values(config).items() if (any(value) if key == "shift" else value)}


def told(key: str, value: Any) -> str:
    """Returns a setting as the command line takes it, ``augment.rotation=20`` for a rotation of 20.0."""
    return setting(key, int(value) if isinstance(value, float) and value.is_integer() else value)


def _values(config: AugmentConfig | BatchNormConfig | PreprocessConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key != "name"}


def _called(group: str, content: dict[str, Any], shown: dict[str, Any]) -> str:
    values = {key: value for key, value in content.items() if key != "name"}
    name = next((name for name, known in _shipped(group) if known == values), None)
    return name or f"{CUSTOM} ({', '.join(told(key, value) for key, value in shown.items())})"


@cache
def _shipped(group: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Returns the choices of a group that seedsweep brings, with all their values."""
    kind = GROUPS[group]
    found = []
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        known = {field.name for field in fields(kind)}
        content = yaml.safe_load(path.read_text())
        made = kind(**{key: value for key, value in content.items() if key in known})
        found.append((path.stem, _values(made)))
    return tuple(found)
