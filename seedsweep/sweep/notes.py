"""Hydra's notes (.hydra/) of what is not trained now stay as they were, for ``resume=``, diagnosis and report."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seedsweep.errors import DamagedError
from seedsweep.sweep.record import is_ended

_earlier: dict[Path, bytes] = {}  # of the folders that this process' call writes into


class KeepNotes(Callback):
    """Hydra callback: reads the notes that Hydra is about to overwrite."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remembers them; only a study, or a run that is gone on with, is called again in its folder."""
        _earlier.clear()
        if config.task == "study" or config.resume:
            with suppress(OmegaConfBaseException):
                _remember(Path(config.hydra.run.dir).absolute(), config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remembers those of the jobs with nothing left to train."""
        _earlier.clear()
        with suppress(OmegaConfBaseException, OSError):
            for path in Path(config.hydra.sweep.dir).absolute().glob("*/metrics.json"):
                with suppress(DamagedError):
                    if is_ended(path.parent):
                        _remember(path.parent, config)


def _remember(folder: Path, config: DictConfig) -> None:
    if config.hydra.output_subdir:
        with suppress(OSError):
            notes = (folder / config.hydra.output_subdir).glob("*.yaml")
            _earlier.update({path: path.read_bytes() for path in notes})


def put_back() -> None:
    """Writes them again."""
    for path, content in _earlier.items():
        with suppress(OSError):
            if path.read_bytes() != content:
                path.write_bytes(content)
    _earlier.clear()
