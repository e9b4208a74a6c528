"""Takes away the folder that Hydra made for a task which writes elsewhere, such as ``task=report``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from seedsweep.cli.notes import FOLDER

KEPT = ("train", "study")  # tasks whose folder is where they go on


def remove_if_empty(hydra: Any, task: str, outputs: Path) -> None:
    """Removes a job's folder that holds nothing but Hydra's notes, and the folders above it that are empty then.

    A folder that the user named (``hydra.run.dir=DIR``) stays.

    Args:
        hydra: HydraConfig of the job, a single one.
        task: that ran.
        outputs: ``paths.outputs``; nothing above it is removed.
    """
    named = any(override.lstrip("+").startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    folder, top = Path(hydra.runtime.output_dir), outputs.absolute()
    if task in KEPT or named or not folder.is_relative_to(top):
        return
    try:
        if {path.name for path in folder.iterdir()} - {FOLDER}:
            return
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        for empty in (folder, *folder.parents):
            if not empty.is_relative_to(top):
                return
            empty.rmdir()  # fails at the first that is not empty
    except OSError:
        return
