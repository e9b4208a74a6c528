"""The folder of stored features.

``<cache>/features/<space>/<view>/<shard>.npy``. A space is a net with its weights, statistics, preprocessing,
image size and arithmetic; a view is an augmentation's draw (or ``plain``); a shard holds some images' rows. An
image is known by its file's bytes, so that a changed or added one is extracted by itself. A shard and its index are
written whole or not at all, and checked by a digest before they are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.digest import digest_of
from seedsweep.whole import write_json

log = logging.getLogger(__name__)

ARRAY, INDEX, PART = ".npy", ".json", ".part"
FORMAT = 2  # part of every key: raise it where the same settings would give other numbers
PLAIN = "plain"
LOCK = ".lock"


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
            state = path.stat()
            if _digest_at(path, state.st_mtime_ns, state.st_size) == content["sha256"]:
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


@lru_cache(maxsize=4096)
def _digest_at(path: Path, mtime_ns: int, size: int) -> str:
    """Returns the digest of a file as it was at that time and of that size: it is read once in a process."""
    return digest_of(path)


class View:
    """Features of one draw of the augmentation.

    What was found once stays readable, even if another process evicts it meanwhile.
    """

    def __init__(self, space: Space, name: str) -> None:
        self.space = space
        self.folder = space.folder / name
        self._shards: list[Shard] = []
        self._place: dict[str, tuple[int, int]] = {}  # image: shard, row

    def load(self) -> None:
        """Reads the index again."""
        self._shards = read_shards(self.folder)
        self._place = {
            image: (number, row)
            for number, shard in enumerate(self._shards)
            for row, image in enumerate(shard.images)
        }

    def missing(self, images: Sequence[str]) -> list[str]:
        """Returns the images that have no features here, each once, in order."""
        return [image for image in dict.fromkeys(images) if image not in self._place]

    def add(self, images: list[str], array: NDArray[np.floating]) -> None:
        """Stores features [n, ...] of ``images`` (SHA-256 each)."""
        write_shard(self.folder, images, array)

    def take(self, images: Sequence[str]) -> Tensor:
        """Returns float32 features [n, ...] of ``images``; all of them must be there."""
        if not images:
            return torch.zeros(0)
        shards, rows = np.asarray([self._place[image] for image in images], dtype=np.int64).T
        shape = self._shards[shards[0]].array.shape[1:]
        out = np.empty((len(images), *shape), dtype=np.float32)
        for number in np.unique(shards):
            here = np.flatnonzero(shards == number)
            out[here] = self._shards[number].array[rows[here]]
        return torch.from_numpy(out)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one process extract at a time; the others wait here, and then find the features.

        What a killed process left half written is removed.
        """
        self.space.touch()
        with locked(self.folder, "features: another process is extracting them; waiting for it"):
            remove_leftovers(self.folder)
            self.load()
            yield


class Space:
    """Features of one net.

    Args:
        root: of the store.
        identity: what must be equal for features to be equal; JSON.
        about: what ``task=cache`` shows; JSON.
    """

    def __init__(self, root: Path, identity: dict[str, Any], about: dict[str, Any]) -> None:
        content = json.dumps({"format": FORMAT, **identity}, sort_keys=True, allow_nan=False)
        self.key = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.folder = root / self.key
        self.about = about

    def view(self, name: str) -> View:
        """Returns a view with its index read."""
        made = View(self, name)
        made.load()
        return made

    def touch(self) -> None:
        """Notes that the features are in use: the least recently used ones are evicted first."""
        path = self.folder / "space.json"
        with locked(self.folder):
            remove_leftovers(self.folder)
            if path.is_file():
                os.utime(path)
                return
            write_json(path, self.about)


class StoredRows:
    """Reads rows from the memory-mapped shards when asked, each from a view of its own.

    Args:
        views: by number; each holds the images that are to be read from it.
        choice: number of the view a row, [n].
        images: SHA-256 a row.
    """

    def __init__(self, views: Mapping[int, View], choice: NDArray[np.int64], images: Sequence[str]) -> None:
        self.views = views
        self.choice = choice
        self.images = images

    @classmethod
    def of_one(cls, view: View, images: Sequence[str]) -> StoredRows:
        """Returns rows that all come from one view."""
        return cls({0: view}, np.zeros(len(images), dtype=np.int64), images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Returns float32 [B, ...] of rows int64 [B]."""
        wanted = self.choice[rows.numpy()]
        parts = {}
        for number in np.unique(wanted).tolist():
            here = torch.from_numpy(np.flatnonzero(wanted == number))
            parts[number] = here, self.views[number].take([self.images[row] for row in rows[here].tolist()])
        if len(parts) == 1:
            return next(part for _, part in parts.values())
        if not parts:
            return torch.zeros(0)
        out = torch.empty(len(rows), *next(part.shape[1:] for _, part in parts.values()))
        for here, part in parts.values():
            out[here] = part
        return out


FeatureRows = Tensor | StoredRows


@contextmanager
def locked(folder: Path, waiting: str = "") -> Iterator[None]:
    """Makes ``folder`` and holds it; the kernel frees it if this process is killed.

    Args:
        folder: removed by another process meanwhile, it is made again.
        waiting: said once if another process holds it.
    """
    lock = FileLock(folder / LOCK)
    while not lock.is_locked:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if waiting:
                    log.info(waiting)
                lock.acquire()
        except FileNotFoundError:  # evicted between these lines
            continue
    try:
        yield
    finally:
        lock.release()
