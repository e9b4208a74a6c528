"""The settings of a job in ``.hydra`` of its folder, written as Hydra does, but each file whole or not at all.

What is not trained now keeps the settings that it was recorded with: ``resume=``, diagnosis and report go by them.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seedsweep.cli.arguments import WITHOUT_FOLDER
from seedsweep.errors import DamagedError
from seedsweep.runs.jobs import is_ended
from seedsweep.whole import replacing

FOLDER = ".hydra"  # conf/config.yaml keeps Hydra from writing it: a kill would leave an empty file there
KEPT = ("train", "study")  # tasks whose folder is where they go on


class JobNotes:
    """The notes of a job: writes them, and puts back those that were there before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._earlier: dict[Path, bytes] = {}

    def write(self, config: DictConfig) -> None:
        """Writes config.yaml, hydra.yaml and overrides.yaml; a job with nothing left to train keeps its own."""
        hydra = HydraConfig.get()
        is_worker = config.task == "study" and config.study.job > 0 and hydra.mode != RunMode.MULTIRUN
        if config.task in WITHOUT_FOLDER or is_worker or self._has_ended():
            return  # a worker's folder is the study's
        notes = self._folder / FOLDER
        notes.mkdir(parents=True, exist_ok=True)
        for name, content in (
            ("config.yaml", config),
            ("hydra.yaml", HydraConfig.instance().cfg),
            ("overrides.yaml", hydra.overrides.task),
        ):
            path = notes / name
            with suppress(OSError):
                self._earlier[path] = path.read_bytes()
            with replacing(path) as part:
                part.write_text(OmegaConf.to_yaml(content), encoding="utf-8")

    def put_back(self) -> None:
        """Writes what was there before again."""
        for path, content in self._earlier.items():
            with suppress(OSError), replacing(path) as part:
                part.write_bytes(content)

    def _has_ended(self) -> bool:
        with suppress(DamagedError):
            return (self._folder / FOLDER).is_dir() and is_ended(self._folder)
        return False


def remove_if_empty(hydra: Any, task: str, outputs: Path) -> None:
    """Removes a job's folder that holds nothing but these notes, and the folders above it that are empty then.

    A task such as ``task=report`` writes elsewhere. A folder that the user named (``hydra.run.dir=DIR``) stays.
    """
    named = any(override.lstrip("+").startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    folder, top = Path(hydra.runtime.output_dir), outputs.absolute()
    if task in KEPT or named or not folder.is_relative_to(top):
        return
    with suppress(OSError):  # of a folder that is not empty, too
        if {path.name for path in folder.iterdir()} - {FOLDER}:
            return
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        for empty in (folder, *folder.parents):
            if not empty.is_relative_to(top):
                return
            empty.rmdir()
