"""The settings of a job, written into ``.hydra`` of its folder as Hydra does, but each file whole or not at all.

What is not trained now keeps the settings that it was recorded with: ``resume=``, diagnosis and report go by them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from seedsweep.errors import DamagedError
from seedsweep.sweep.record import is_ended
from seedsweep.whole import replacing

FOLDER = ".hydra"  # conf/config.yaml keeps Hydra from writing it: a kill would leave an empty file there
WITHOUT = ("cache", "dashboard", "proxy")  # tasks without a folder of their own

_earlier: dict[Path, bytes] = {}  # of the folder of this process' job


class KeepNotes(Callback):
    """Hydra callback: writes a job's settings when it starts, and remembers those that were there."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Writes config.yaml, hydra.yaml and overrides.yaml; a job with nothing left to train keeps its own."""
        _earlier.clear()
        folder = Path(config.hydra.runtime.output_dir)
        worker = config.task == "study" and config.study.job > 0 and config.hydra.mode != RunMode.MULTIRUN
        if config.task in WITHOUT or worker or _has_ended(folder):
            return  # a worker's folder is the study's
        notes = folder / FOLDER
        notes.mkdir(parents=True, exist_ok=True)
        settings = config.copy()
        with read_write(settings), open_dict(settings):
            del settings["hydra"]
        hydra = HydraConfig.instance().cfg
        for name, content in (
            ("config.yaml", settings),
            ("hydra.yaml", hydra),
            ("overrides.yaml", config.hydra.overrides.task),
        ):
            path = notes / name
            with suppress(OSError):
                _earlier[path] = path.read_bytes()
            with replacing(path) as part:
                part.write_text(OmegaConf.to_yaml(content), encoding="utf-8")


def _has_ended(folder: Path) -> bool:
    with suppress(DamagedError):
        return (folder / FOLDER).is_dir() and is_ended(folder)
    return False


def put_back() -> None:
    """Writes what was there before again."""
    for path, content in _earlier.items():
        with suppress(OSError), replacing(path) as part:
            part.write_bytes(content)
    _earlier.clear()
