"""Gives Hydra the schema and a reader of files whose errors are one sentence; turns what it composes into objects."""

from __future__ import annotations

import os
import re
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import all_finite
from seedsweep.cli.config.schema import Config
from seedsweep.cli.config.yaml_file import read_yaml
from seedsweep.errors import SeedsweepError
from seedsweep.models import nets
from seedsweep.runs.command import shown

NAME = "base_config"
Names = list[str]  # the class below has a method of that name
BACKBONE, AUTO, TIMM = "backbone", "auto.yaml", "timm.yaml"


def register_schema() -> None:
    """Makes ``base_config`` known to Hydra: the first entry of conf/config.yaml's defaults."""
    store = ConfigStore.instance()
    if f"{NAME}.yaml" not in store.repo:  # to store it again takes 17 ms
        store.store(name=NAME, node=Config)
    Plugins.instance()  # it registers Hydra's own source
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


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


class FileConfigSource(file_config_source.FileConfigSource):
    """A folder of YAML files; it bears the name of Hydra's own, in whose place it stands.

    In ``conf/``, each file of ``models/nets`` is a choice of ``backbone=``, and each model of timm, too: that of
    ``backbone=timm`` by another name. A YAML file of that name in any folder comes first.
    """

    def is_config(self, config_path: str) -> bool:
        """Says whether there is such a file, or model."""
        return super().is_config(config_path) or self._without_file(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> Names:
        """Returns the choices of a group; of ``backbone``, those without a YAML file that are ours, too."""
        found = set(super().list(config_path, results_filter))
        if self._holds_backbones(config_path) and results_filter != ObjectType.GROUP:
            found.update(nets.names())
        return sorted(found)

    def _holds_backbones(self, group: str) -> bool:
        return self.provider == "main" and group == BACKBONE and (Path(self.path) / BACKBONE / TIMM).is_file()

    def _without_file(self, config_path: str) -> tuple[Path, str] | None:
        """Returns the file that a backbone without one is chosen by, and the backbone's name."""
        group, _, name = config_path.partition("/")
        if not self._holds_backbones(group) or self._is_file(config_path):
            return None
        file = AUTO if name in nets.names() else TIMM if is_timm(name) else None
        return (Path(self.path) / BACKBONE / file, name) if file else None

    def _is_file(self, config_path: str) -> bool:
        """Says whether any folder that Hydra reads has such a file; the one of --config-dir stands behind ours."""
        hydra = GlobalHydra.instance()
        sources = hydra.config_loader().get_sources() if hydra.is_initialized() else []
        return any(
            super(FileConfigSource, source).is_config(config_path)
            for source in [self, *sources]
            if isinstance(source, FileConfigSource)
        )

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a file."""
        name = self._normalize_file_name(config_path)
        path = Path(self.path) / name
        backbone = None if path.exists() else self._without_file(config_path)
        if backbone:
            path, _ = backbone
        if not path.exists():
            raise ConfigLoadError(f"Config not found : {path}")
        content, text = read_yaml(path, os.path.dirname(name))
        content |= {"name": backbone[1]} if backbone else {}
        try:
            header = self._get_header_dict(text)
            config = OmegaConf.create(content)
        except (OmegaConfBaseException, ValueError) as error:
            raise SeedsweepError(f"{shown(path)}: {' '.join(str(error).split()).rstrip('.')}.") from error
        return ConfigResult(
            config=config, path=f"{self.scheme()}://{self.path}", provider=self.provider, header=header
        )


@cache
def is_timm(name: str) -> bool:
    """Says whether timm has a model of this name; with a tag, as ``resnet50.a1_in1k``, too."""
    if not re.fullmatch(r"[A-Za-z]\w*(\.\w+)?", name) or find_spec("timm") is None:
        return False
    import timm  # it brings torch, which takes seconds

    return name in (timm.list_pretrained() if "." in name else timm.list_models())
