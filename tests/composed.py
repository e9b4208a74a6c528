"""Configurations as the command line composes them."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from seedsweep.config.location import conf_dir
from seedsweep.config.schema import Config
from seedsweep.config.store import register_schema, to_config


def compose_config(*overrides: str) -> DictConfig:
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def config_of(*overrides: str) -> Config:
    return to_config(compose_config(*overrides))
