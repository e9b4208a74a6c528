"""Registers the schema with Hydra and turns a composed config into typed objects."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from seedsweep.bounds import all_finite
from seedsweep.config.schema import Config
from seedsweep.config.source import use_our_source

NAME = "base_config"


def register_schema() -> None:
    """Makes ``base_config`` known to Hydra: the first entry of conf/config.yaml's defaults."""
    store = ConfigStore.instance()
    if f"{NAME}.yaml" not in store.repo:  # to store it again takes 17 ms
        store.store(name=NAME, node=Config)
    use_our_source()


def to_config(cfg: DictConfig) -> Config:
    """Returns the composed config as dataclasses.

    Raises:
        SeedsweepError: a value is out of bounds.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    config = _typed(cfg)
    all_finite(config)
    return config


def _typed(cfg: DictConfig) -> Config:
    if OmegaConf.get_type(cfg) is Config and _is_known(cfg):  # typed while it was composed
        return Config(**{field.name: _object(cfg[field.name]) for field in fields(Config)})
    names = [str(name) for name in cfg if name != "hydra"]
    plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, names), resolve=True)
    return cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain)))


def _object(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _is_known(node: DictConfig) -> bool:
    """Says whether the schema has every key, here and below: ``+key=value`` may add others. Hydra's own don't count."""
    kind = OmegaConf.get_type(node)
    if not is_dataclass(kind):
        return True
    known = {field.name for field in fields(kind)}
    given = {str(key): value for key, value in node.items_ex(resolve=False) if key != "hydra"}
    below = [value for value in given.values() if isinstance(value, DictConfig)]
    return known.issuperset(given) and all(_is_known(value) for value in below)
