"""Configurations as the command line composes them."""

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.cli.config.schema import Config
from seedsweep.names import conf_dir


def compose_config(*overrides: str) -> DictConfig:
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def config_of(*overrides: str) -> Config:
    """Choices of files are composed; single values, such as paths.cache=..., are set as Hydra sets them, last."""
    if any(override.startswith("hydra.") for override in overrides):
        return to_config(compose_config(*overrides))  # a search path, above all
    values = [override for override in overrides if _is_value(override)]
    cfg = compose_config(*(one for one in overrides if one not in values))
    parsed = OverridesParser.create().parse_overrides(values)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, cfg)
    return to_config(cfg)


def _is_value(override: str) -> bool:
    key = override.partition("=")[0]
    return "." in key and key[0].isalpha()
