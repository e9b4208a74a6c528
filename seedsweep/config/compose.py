"""Composes a configuration as a command line would, outside of one too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from seedsweep.config.groups import key_of
from seedsweep.config.location import conf_dir
from seedsweep.config.schema import Config
from seedsweep.config.store import register_schema, to_config
from seedsweep.errors import SeedsweepError


def composed(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Config | None:
    """Returns what ``overrides`` come to, the last of those with one key; None where they are no configuration.

    Args:
        overrides: of one run.
        config_dirs: of ``--config-dir``.
    """
    last = {key_of(override): override for override in overrides}
    places = ",".join(f"file://{Path(folder).absolute()}" for folder in config_dirs)
    lines = [*([f"hydra.searchpath=[{places}]"] if places else []), *last.values()]
    register_schema()
    try:
        with _initialized():
            return to_config(compose("config", lines))
    except (HydraException, OmegaConfBaseException, SeedsweepError):
        return None


@contextmanager
def _initialized() -> Iterator[None]:
    if GlobalHydra.instance().is_initialized():  # a job is under way
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield
