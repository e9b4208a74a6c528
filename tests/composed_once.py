"""Hydra's work is remembered: a composition takes it .1 s, and the tests ask for a thousand, most of them alike.

Whatever is remembered is known by all that it depends on, the files above all, and kept as a pickle: each asker has
a copy of its own. Three steps are remembered: reading a file, merging files, and the whole; and of the whole its
mode, for which Hydra composes the same settings again.
"""

import os
import pickle
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
from hydra import version
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.utils import JobRuntime
from omegaconf import DictConfig

read_anew = ConfigRepository.load_config
merge_anew = ConfigLoaderImpl._compose_config_from_defaults_list
compose_anew = ConfigLoaderImpl._load_configuration_impl
choices_anew = defaults_list._create_interpolation_map
mode_anew = Hydra.get_mode
_known: dict[tuple[Any, ...], bytes] = {}
_modes: dict[tuple[Any, ...], Any] = {}
_files: dict[str, tuple[Any, ...]] | None = None  # of each folder, while a composition is under way


def remember(patch: pytest.MonkeyPatch) -> None:
    """Puts the memory before Hydra's own functions."""
    patch.setattr(ConfigRepository, "load_config", _read)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _merge)
    patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", _compose)
    patch.setattr(defaults_list, "_create_interpolation_map", _choices)
    patch.setattr(Hydra, "get_mode", _mode)
    # each composition copies its sources, and with them the store of schemas, which none of them changes
    patch.setattr(ConfigStore, "__deepcopy__", lambda store, _: store, raising=False)


def forget(patch: pytest.MonkeyPatch) -> None:
    """Puts Hydra's own functions back."""
    patch.setattr(ConfigRepository, "load_config", read_anew)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_anew)
    patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_anew)
    patch.setattr(defaults_list, "_create_interpolation_map", choices_anew)
    patch.setattr(Hydra, "get_mode", mode_anew)
    patch.delattr(ConfigStore, "__deepcopy__", raising=False)


def _compose(loader: ConfigLoaderImpl, *args: Any, **named: Any) -> DictConfig:
    global _files
    _files = {"": _names(ConfigStore.instance().repo)}  # the source of schemas has no folder
    # from_shell is for the wording of an error, and an error is not remembered
    how = {name: value for name, value in named.items() if name != "from_shell"}
    asked = repr((args, sorted(how.items()))), version.getbase(), JobRuntime.instance().get("name")
    try:
        cfg: DictConfig = _once(("whole", *asked), loader, lambda: compose_anew(loader, *args, **named))
    finally:
        _files = None
    cfg.hydra.runtime.cwd = os.getcwd()
    if {"config_name", "overrides"} <= set(named):
        _modes[_asked(loader, named["config_name"], named["overrides"])] = cfg.hydra.mode
    return cfg


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    key = _asked(hydra.config_loader, config_name, overrides)
    return _modes[key] if key in _modes else mode_anew(hydra, config_name, overrides)


def _asked(loader: Any, config_name: str | None, overrides: list[str]) -> tuple[Any, ...]:
    files = {"": _names(ConfigStore.instance().repo)}
    sources = loader.get_sources()
    return config_name, *overrides, *((str(source), _content(source.path, files)) for source in sources)


def _read(repository: ConfigRepository, config_path: str) -> Any:
    return _once(("file", config_path), repository, lambda: read_anew(repository, config_path))


def _merge(loader: ConfigLoaderImpl, defaults: Any, repo: Any) -> Any:
    asked = [astuple(default) for default in defaults]
    return _once(("merged", repr(asked)), repo, lambda: merge_anew(loader, defaults, repo))


def _choices(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig | None:
    """What names in a list of defaults may be made of: Hydra builds it for each file, and reads it where one is."""
    names = [
        default.path if isinstance(default, ConfigDefault) else default.value
        for default in defaults
        if isinstance(default, ConfigDefault | GroupDefault)
    ]
    wanted = any("${" in str(name) for name in names)
    return choices_anew(overrides, defaults, self_added) if wanted else None


def _once(what: tuple[str, ...], reader: Any, make: Callable[[], Any]) -> Any:
    if _files is None:
        return make()
    key = (*what, *((str(source), _content(source.path, _files)) for source in reader.get_sources()))
    if key not in _known:
        made = make()
        if isinstance(made, DictConfig):
            made._metadata.resolver_cache.pop("now", None)  # the time of day is asked for anew
            hydra = made.hydra
            if made._metadata.resolver_cache or hydra.job.env_copy or hydra.searchpath:
                return made  # it depends on more than the key
        _known[key] = pickle.dumps(made)
    return pickle.loads(_known[key])


def _content(folder: str, files: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Says what files there are; of a package, which is no folder, nothing: that stays as it is."""
    if folder not in files:
        paths = sorted(os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
        files[folder] = tuple((path, (it := os.stat(path)).st_mtime_ns, it.st_size) for path in paths)
    return files[folder]


def _names(store: dict[str, Any]) -> tuple[Any, ...]:
    """Says which schemas and plugins are registered."""
    return tuple((name, _names(below) if isinstance(below, dict) else ()) for name, below in store.items())
