"""Composes a configuration as a command line would, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.overrides import CONFIG, key_of, merged
from seedsweep.runs.recorded import SINGLE, Recorded, read_recorded


@dataclass(frozen=True)
class CommandLine(Recorded):
    """The command line of a run, or of this process; further settings may stand behind it."""

    def composed(self, lines: Sequence[str] = ()) -> Config | None:
        """Returns what it comes to with ``lines`` after it; None where that is no configuration."""
        try:
            return to_config(compose_from(self, merged(self.overrides, list(lines))))
        except (HydraException, OmegaConfBaseException, SeedsweepError):
            return None


def command_line_of(folder: Path) -> CommandLine | None:
    """Returns the command line of the run in ``folder``; None where it was not recorded."""
    try:
        recorded = read_recorded(folder / SINGLE)
    except SeedsweepError:
        return None
    overrides = [line for line in recorded.overrides if not key_of(line).startswith("hydra")]
    return CommandLine(recorded.config_dirs, overrides, recorded.config_name)


def command_line_here() -> CommandLine | None:
    """Returns the command line of the running Hydra job, less what makes it a diagnosis; None outside of one."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    folders = [str(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"]
    lines = [str(line) for line in hydra.overrides.task]
    lines = [line for line in lines if key_of(line).split(".")[0] not in ("task", "diagnose")]
    return CommandLine(folders, lines, str(hydra.job.config_name or CONFIG))


def compose_from(line: Recorded, overrides: Sequence[str], **options: Any) -> DictConfig:
    """Composes overrides with the folders and the main file of a command line."""
    register_schema()
    with searching(line.config_dirs):
        return compose(line.config_name, list(overrides), **options)


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
