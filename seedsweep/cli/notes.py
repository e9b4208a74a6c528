"""The settings of a job, written into ``.hydra`` of its folder as Hydra does, but each file whole or not at all.

What is not trained now keeps the settings that it was recorded with: ``resume=``, diagnosis and report go by them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seedsweep.errors import DamagedError
from seedsweep.runs.job_record import is_ended
from seedsweep.whole import replacing

FOLDER = ".hydra"  # conf/config.yaml keeps Hydra from writing it: a kill would leave an empty file there
WITHOUT = ("cache", "dashboard", "proxy")  # tasks without a folder of their own

_earlier: dict[Path, bytes] = {}  # of the folder of this process' job


def write(config: DictConfig, folder: Path) -> None:
    """Writes config.yaml, hydra.yaml and overrides.yaml when a job starts, and remembers those that were there.

    A job with nothing left to train keeps its own.

    Args:
        config: of the job, without Hydra's own settings.
        folder: of the job.

    Raises:
        OSError: the disk is full or read-only.
    """
    hydra = HydraConfig.get()
    worker = config.task == "study" and config.study.job > 0 and hydra.mode != RunMode.MULTIRUN
    if config.task in WITHOUT or worker or _has_ended(folder):
        return  # a worker's folder is the study's
    notes = folder / FOLDER
    notes.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("config.yaml", config),
        ("hydra.yaml", HydraConfig.instance().cfg),
        ("overrides.yaml", hydra.overrides.task),
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


def forget() -> None:
    """Forgets the job before, whose settings stay as they are."""
    _earlier.clear()


def put_back() -> None:
    """Writes what was there before again."""
    for path, content in _earlier.items():
        with suppress(OSError), replacing(path) as part:
            part.write_bytes(content)
    forget()
