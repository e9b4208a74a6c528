"""Files as a run first read them, so that a change during the run is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.digest import digest_of

Stamp = tuple[int, int, int] | None


def stamp_of(path: Path) -> Stamp:
    """Returns the times of a file's last write and last change of any kind, and its size; None if it is gone."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size


@dataclass(frozen=True)
class Seen:
    """Paths, stamps and digests of files, [N] each, when they were first read.

    A stamp costs microseconds, and a file is read again only where its stamp differs.
    """

    paths: Sequence[Path]
    stamps: Sequence[Stamp]
    digests: Sequence[str]

    def is_changed(self, row: int) -> bool:
        """Says whether a file has another content now, or is gone."""
        path = self.paths[row]
        if (now := stamp_of(path)) == self.stamps[row]:
            return False
        try:
            return now is None or digest_of(path) != self.digests[row]
        except OSError:
            return True

    def changed(self) -> list[Path]:
        """Returns the files that have another content now, or are gone."""
        return [path for row, path in enumerate(self.paths) if self.is_changed(row)]

    def select(self, rows: Sequence[int]) -> Seen:
        """Returns some of the files."""
        return Seen(
            [self.paths[row] for row in rows],
            [self.stamps[row] for row in rows],
            [self.digests[row] for row in rows],
        )
