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

ARRAY, INDEX, PART = ".npy", ".json", ".part"

_proved: dict[Path, tuple[int, int]] = {}  # files whose digest this process has checked: mtime and size


@dataclass(frozen=True)
class Shard:
    """Features of some images.

    ``path`` is a .npy file, ``images`` the SHA-256 of each row's file, ``array`` [n, ...] is memory-mapped and
    read-only: it stays readable when another process removes the file.
    """

    path: Path
    images: list[str]
    array: NDArray[np.floating]


def write_shard(folder: Path, images: list[str], array: NDArray[np.floating]) -> None:
    """Adds a shard: first the array, then its index, each renamed into place.

    Args:
        folder: of the view.
        images: SHA-256 of each row's file.
        array: [n, ...], float32 or float16.

    Raises:
        OSError: the disk is full, or the folder can't be written; nothing is left behind.
    """
    path = folder / f"{time.time_ns():020d}-{os.getpid()}{ARRAY}"
    part = path.with_suffix(PART)
    try:
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        digest = _digest(part)
        os.replace(part, path)
        index = {"images": images, "sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}
        part.write_text(json.dumps(index, allow_nan=False))
        os.replace(part, path.with_suffix(INDEX))
    except BaseException:  # a full disk wants its room back
        part.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    _proved[path] = _stamp(path)


def read_shards(folder: Path) -> list[Shard]:
    """Returns the shards of a view that are whole; a damaged one is removed, so that it is made again."""
    shards = []
    for index in sorted(folder.glob(f"*{INDEX}")):
        path = index.with_suffix(ARRAY)
        try:
            content = json.loads(index.read_text())
            images = [str(image) for image in content["images"]]
            if is_whole(path, str(content["sha256"])):
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                if len(array) == len(images):
                    shards.append(Shard(path, images, array))
                    continue
        except FileNotFoundError:  # evicted by another process
            continue
        except (ValueError, KeyError, TypeError):
            pass
        log.warning("stored features %s are damaged: they are extracted again", path)
        index.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    return shards


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left: half a file, an array or an index alone. Only for who holds the lock."""
    for path in list(folder.iterdir()):
        other = {ARRAY: INDEX, INDEX: ARRAY}.get(path.suffix)
        alone = other is not None and path.name != "space.json" and not path.with_suffix(other).exists()
        if path.suffix == PART or alone:
            path.unlink(missing_ok=True)


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
