"""A call that a study or a run refuses leaves Hydra's notes in its folder as they were: ``resume=`` goes by them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

_earlier: dict[Path, bytes] = {}  # of the folder that this process' call writes into


class KeepNotes(Callback):
    """Hydra callback: reads the notes that Hydra is about to overwrite."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remembers them; only a study, or a run that is gone on with, is called again in its folder."""
        _earlier.clear()
        if (config.task == "study" or config.resume) and config.hydra.output_subdir:
            with suppress(OmegaConfBaseException, OSError):
                folder = Path(config.hydra.run.dir).absolute() / config.hydra.output_subdir
                _earlier.update({path: path.read_bytes() for path in folder.glob("*.yaml")})


def put_back() -> None:
    """Writes them again."""
    for path, content in _earlier.items():
        with suppress(OSError):
            path.write_bytes(content)
