"""One array file and its index: written whole or not at all, checked by a digest before it is read."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.digest import digest_of

log = logging.getLogger(__name__)

ARRAY, INDEX, PART = ".npy", ".json", ".part"


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
        digest = digest_of(part)
        os.replace(part, path)
        index = {"images": images, "sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}
        part.write_text(json.dumps(index, allow_nan=False))
        os.replace(part, path.with_suffix(INDEX))
    except BaseException:  # a full disk wants its room back
        part.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise


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
    """Compares a file with its digest; it is read once in a process, unless ``again`` or the file has changed.

    Raises:
        FileNotFoundError: it is gone.
    """
    state = path.stat()
    return (digest_of(path) if again else _digest_at(path, state.st_mtime_ns, state.st_size)) == sha256


@lru_cache(maxsize=4096)
def _digest_at(path: Path, mtime_ns: int, size: int) -> str:
    """Returns the digest of a file as it was at that time and of that size."""
    return digest_of(path)
