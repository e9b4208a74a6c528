"""Composes a configuration as a command line would, outside of one too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from seedsweep.config.schema import Config
from seedsweep.config.store import register_schema, to_config
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.overrides import CONFIG, key_of


def composed(
    overrides: Sequence[str], config_dirs: Sequence[str] = (), config_name: str = CONFIG
) -> Config | None:
    """Returns what ``overrides`` come to, the last of those with one key; None where they are no configuration.

    Args:
        overrides: of one run.
        config_dirs: of ``--config-dir``.
        config_name: of ``--config-name``.
    """
    last = {key_of(override): override for override in overrides}
    register_schema()
    try:
        with searching(config_dirs):
            return to_config(compose(config_name, list(last.values())))
    except (HydraException, OmegaConfBaseException, SeedsweepError):
        return None


@contextmanager
def searching(config_dirs: Sequence[str]) -> Iterator[None]:
    """Makes ``compose`` read conf/ and the folders of --config-dir, as ``hydra.main`` does."""
    version.setbase("1.3")
    path = create_config_search_path(str(conf_dir()))
    anchor = SearchPathQuery(provider="schema")  # the schema must stay last
    for folder in reversed(config_dirs):
        path.prepend("command-line", f"file://{Path(folder).absolute()}", anchor)
    running = GlobalHydra.instance()
    before = running.hydra
    running.clear()
    Hydra.create_main_hydra2(task_name="seedsweep", config_search_path=path)
    try:
        yield
    finally:
        running.clear()
        running.hydra = before
