"""The command line that a run was made with, or this process: composed again with further settings behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from seedsweep.config.compose import composed
from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import CONFIG, key_of
from seedsweep.runs.recorded import SINGLE, read_recorded


@dataclass(frozen=True)
class GivenCommandLine:
    """The overrides and options of a command line.

    Attributes:
        overrides: of the run.
        config_dirs: of ``--config-dir``.
        config_name: of ``--config-name``.
    """

    overrides: list[str]
    config_dirs: Sequence[str] = ()
    config_name: str = CONFIG

    def composed(self, lines: Sequence[str] = ()) -> Config | None:
        """Returns what it comes to with ``lines`` after it; None where that is no configuration."""
        return composed([*self.overrides, *lines], self.config_dirs, self.config_name)


def command_line_of(folder: Path) -> GivenCommandLine | None:
    """Returns the command line of the run in ``folder``; None where it was not recorded."""
    try:
        recorded = read_recorded(folder / SINGLE)
    except SeedsweepError:
        return None
    overrides = [line for line in recorded.overrides if not key_of(line).startswith("hydra")]
    return GivenCommandLine(overrides, tuple(recorded.config_dirs), recorded.config_name)


def command_line_here() -> GivenCommandLine | None:
    """Returns the command line of this process, less what makes it a diagnosis; None outside of one."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    lines = [str(line) for line in hydra.overrides.task]
    folders = [str(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"]
    lines = [line for line in lines if key_of(line).split(".")[0] not in ("task", "diagnose")]
    return GivenCommandLine(lines, tuple(folders), str(hydra.job.config_name or CONFIG))
