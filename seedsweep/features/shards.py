"""One array file and its index: written whole or not at all, proved by a digest before it is read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

_proved: dict[Path, tuple[int, int]] = {}  # files whose digest this process has checked: mtime and size


@dataclass(frozen=True)
class Shard:
    """Features of some images.

    ``path`` is a .npy file [n, ...]; ``images`` the SHA-256 of each row's file.
    """

    path: Path
    images: list[str]

    def open(self) -> NDArray[np.floating]:
        """Returns the array [n, ...], memory-mapped and read-only."""
        array: NDArray[np.floating] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return array


def write_shard(folder: Path, images: list[str], array: NDArray[np.floating]) -> None:
    """Adds a shard: first the array, then its index, each renamed into place.

    Args:
        folder: of the view.
        images: SHA-256 of each row's file.
        array: [n, ...], float32 or float16.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    stem = f"{time.time_ns():020d}-{os.getpid()}"
    part = folder / f"{stem}.part"
    with part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    digest = _digest(part)
    path = folder / f"{stem}.npy"
    os.replace(part, path)
    index = {"images": images, "sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}
    part.write_text(json.dumps(index))
    os.replace(part, path.with_suffix(".json"))
    _proved[path] = _stamp(path)


def read_shards(folder: Path) -> list[Shard]:
    """Returns the shards of a view that are whole; a damaged one is removed, so that it is made again."""
    shards = []
    for index in sorted(folder.glob("*.json")):
        path = index.with_suffix(".npy")
        try:
            content = json.loads(index.read_text())
            images = [str(image) for image in content["images"]]
            whole = len(images) == content["shape"][0] and is_whole(path, str(content["sha256"]))
        except FileNotFoundError:  # evicted by another process
            continue
        except (ValueError, KeyError, TypeError):
            whole, images = False, []
        if whole:
            shards.append(Shard(path, images))
        else:
            log.warning("stored features %s are damaged: they are extracted again", path)
            index.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    return shards


def is_whole(path: Path, sha256: str, *, again: bool = False) -> bool:
    """Compares a file with its digest; once a process, unless ``again`` or the file has changed.

    Raises:
        FileNotFoundError: it is gone.
    """
    stamp = _stamp(path)
    if not again and _proved.get(path) == stamp:
        return True
    if _digest(path) != sha256:
        return False
    _proved[path] = stamp
    return True


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
