"""Finds the checkpoint and the images that the command line names, without torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from seedsweep.data.image_formats import listed, suffixes
from seedsweep.data.walk import Walked, sentences, walk
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

BEST = Path("checkpoints") / "best.ckpt"


def find_checkpoint(given: str | None) -> Path:
    """Returns the file that ``checkpoint=`` names: itself, or the best one of a run's folder.

    Raises:
        SeedsweepError: nothing was given, or nothing is there.
    """
    if not given:
        raise SeedsweepError(
            "checkpoint is not set: give a run's folder or its checkpoints/best.ckpt with checkpoint=FILE."
        )
    path = path_of(given)
    if path.is_dir():
        for found in (path / BEST, path / BEST.name):
            if found.is_file():
                return found
        if runs := sorted(path.glob(f"*/{BEST}"), key=lambda file: file.stat().st_mtime):
            raise SeedsweepError(
                f"checkpoint={given} holds several runs: give the folder of one of them, such as "
                f"{runs[-1].parents[1]}, the newest."
            )
        raise SeedsweepError(
            f"checkpoint={given} holds no {BEST}: give the folder of a finished run, or the file."
        )
    if not path.is_file():
        raise SeedsweepError(f"checkpoint={given} is no file: give a run's folder or its {BEST}.")
    return path


def find_images(root: str | None) -> tuple[Path, Walked]:
    """Returns the folder, and the images and what is left out at any depth below it; of one image, its folder and it.

    Raises:
        SeedsweepError: no folder was given, it is none, or it holds no images.
    """
    if root is None:
        raise SeedsweepError("data.root is not set: give the folder of the photographs with data.root=DIR.")
    folder = path_of(root)
    if folder.is_file() and folder.suffix.lower() in suffixes():
        return folder.parent, Walked([folder])
    if not folder.is_dir():
        raise SeedsweepError(f"data.root={root} is no folder and no image that is read here ({listed()}).")
    found = walk(folder)
    if not found.images:
        others = f"; left out: {'; '.join(sentences(found.left_out))}" if found.left_out else ""
        raise SeedsweepError(
            f"data.root={root} holds no images at any depth: {listed()} files are read{others}."
        )
    return folder, found
