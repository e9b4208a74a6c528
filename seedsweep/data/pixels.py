"""The pixels of a data set at the size of the net: decoded when first needed, and kept if there is room."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.image_formats import BadImageError, TooLargeError
from seedsweep.data.images import DEFAULT, Reading, empty_batch, read_image
from seedsweep.data.threads import in_threads
from seedsweep.data.value_ranges import Ranges
from seedsweep.digest import digest_of
from seedsweep.errors import ChangedError, SeedsweepError
from seedsweep.names import printable

Rows = Sequence[int] | NDArray[np.int64]
Stamp = tuple[int, int, int] | None


def stamp_of(path: Path) -> Stamp:
    """Returns the times of a file's last write and last change of any kind, and its size; None if it is gone."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size


@dataclass(frozen=True)
class FirstRead:
    """The stamp and digest of a file when it was first read, so that later changes are noticed.

    A stamp costs microseconds, and a file is read again only where its stamp differs.
    """

    stamp: Stamp
    digest: str

    def is_changed(self, path: Path) -> bool:
        """Says whether the file has another content now, or is gone."""
        if (now := stamp_of(path)) == self.stamp:
            return False
        try:
            return now is None or digest_of(path) != self.digest
        except OSError:
            return True


class Pixels:
    """Images by row, from memory or from disk.

    Args:
        seen: the files as they were first read: what is decoded later must be the same content; None: not checked.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        keep: bool,
        seen: Sequence[FirstRead] | None = None,
        how: Reading = DEFAULT,
    ) -> None:
        self.paths = paths
        self.how = how
        self.seen = seen
        self.size = size
        self.keep = keep
        # pages of memory that are never written cost nothing
        self._memory = empty_batch(len(paths) if keep else 0, size, as_decoded=False)
        self._have = np.zeros(len(paths), dtype=bool)
        self._at = np.arange(len(paths))  # where in the memory each row is

    def batch(self, rows: Rows, as_decoded: bool = False) -> Tensor:
        """Returns uint8 [B, 3, H, W] of the given rows.

        Args:
            as_decoded: leave what comes from disk in the decoder's order of values, which spares taking every pixel
                apart; else the batch is contiguous.

        Raises:
            ChangedError: a file was there when the run began, and is gone or has another content.
            SeedsweepError: an image is larger than ``data.image_gib`` allows.
        """
        rows = np.asarray(rows, dtype=np.int64)
        row = -1
        try:
            if not self.keep:
                batch = empty_batch(len(rows), self.size, as_decoded)
                for image, at in zip(batch, rows, strict=True):
                    image.copy_(self._decoded(row := int(at)))
                return batch
            for row in rows[~self.held(rows)]:
                self.hold(row)
        except TooLargeError as error:
            raise SeedsweepError(
                f"{printable(str(self.paths[row]))}: {error}: raise data.image_gib."
            ) from error
        except BadImageError as error:
            raise _changed(self.paths[row], f" ({error})") from error
        return torch.index_select(self._memory, 0, torch.from_numpy(self._at[rows]))

    def read_all(self, workers: int) -> None:
        """Decodes what is still missing, where it can be kept, in threads: the decoder works outside Python's lock.

        A file that can't be read is an error when its row is asked for.

        Raises:
            ChangedError: a file was changed since it was first read.
        """

        def one(row: int) -> None:
            with suppress(BadImageError):
                self.hold(row)

        if self.keep:
            missing = np.flatnonzero(~self.held(range(len(self.paths))))
            in_threads(one, missing.tolist(), workers, "reading images")

    def held(self, rows: Rows) -> NDArray[np.bool_]:
        """Says which rows are in memory."""
        return self._have[self._at[np.asarray(rows, dtype=np.int64)]]

    def changed(self) -> list[Path]:
        """Returns the files that have another content now, or are gone."""
        pairs = zip(self.paths, self.seen or (), strict=self.seen is not None)
        return [path for path, seen in pairs if seen.is_changed(path)]

    def select(self, rows: Sequence[int]) -> Pixels:
        """Returns the pixels of some rows, in the same memory: what the one decodes, the other has."""
        part = copy.copy(self)
        part.paths = [self.paths[row] for row in rows]
        part.seen = [self.seen[row] for row in rows] if self.seen else None
        part._at = self._at[np.asarray(rows, dtype=np.int64)]
        return part

    def scaled(self, ranges: Ranges, anew: bool) -> Pixels:
        """Returns the pixels with images of more than 8 bits scaled by ``ranges``.

        Args:
            anew: decode all images again, for some were scaled otherwise; else what is decoded is shared.
        """
        how = replace(self.how, ranges=ranges)
        if anew:
            return Pixels(self.paths, self.size, self.keep, self.seen, how)
        same = copy.copy(self)
        same.how = how
        return same

    def hold(self, row: int) -> None:
        """Decodes a row, and keeps it if there is room.

        Raises:
            BadImageError: it can't be read.
            ChangedError: the file was changed since it was first read.
        """
        image = self._decoded(row)
        if self.keep:
            self._memory[self._at[row]] = image
            self._have[self._at[row]] = True

    def _decoded(self, row: int) -> Tensor:
        path = self.paths[row]
        image = read_image(path, self.size, self.how)
        if self.seen and self.seen[row].is_changed(path):  # after reading: no change slips in between
            raise _changed(path, "")
        return image


def _changed(path: Path, reason: str) -> ChangedError:
    return ChangedError(
        f"{printable(str(path))} was removed or changed while the run went on{reason}: restore it and go on, or begin "
        "a new run with the images as they are now."
    )
