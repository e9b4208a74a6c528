"""Where Hydra reads its files from: as its own source does, but a broken file is one sentence."""

from __future__ import annotations

import os
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.command import shown
from seedsweep.config.yaml_file import read_yaml
from seedsweep.errors import SeedsweepError


class FileConfigSource(file_config_source.FileConfigSource):
    """A folder of YAML files; it bears the name of Hydra's own, in whose place it stands."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a file.

        Raises:
            SeedsweepError: it is broken.
        """
        name = self._normalize_file_name(config_path)
        path = Path(self.path) / name
        if not path.exists():
            raise ConfigLoadError(f"Config not found : {path}")
        content, text = read_yaml(path, os.path.dirname(name))
        try:
            header = self._get_header_dict(text)
            config = OmegaConf.create(content)
        except (OmegaConfBaseException, ValueError) as error:
            raise SeedsweepError(f"{shown(path)}: {' '.join(str(error).split()).rstrip('.')}.") from error
        return ConfigResult(
            config=config, path=f"{self.scheme()}://{self.path}", provider=self.provider, header=header
        )


def use_our_source() -> None:
    """Puts the class above in the place of Hydra's for folders."""
    Plugins.instance()  # it registers Hydra's own
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource
