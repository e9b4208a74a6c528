"""The study's journal: Optuna's, each line with a checksum over all that comes before it.

A changed, lost or doubled line would change a study's result without a word.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend, JournalStorage

from seedsweep.errors import DamagedError
from seedsweep.whole import strict

log = logging.getLogger(__name__)

# of a line: CRC-32 of the file's first N bytes and the line up to here, and N. Optuna passes over keys it doesn't know.
CHECK = re.compile(rb',"check":"([0-9a-f]{8})@(\d+)"\}\r?\n$')


class CheckedJournal(BaseJournalBackend):
    """A journal whose lines are verified as they are read.

    Lines without a checksum, of a program that writes without us, are taken as they are. The next line with one covers
    them.

    The operating system's lock ends with its process, so a killed worker holds nobody up. Its file is not called
    ``.lock``: Optuna's own lock takes a file of that name for a writer, and whoever writes to the journal without
    seedsweep (a notebook, say) would wait out its 30 seconds of grace. The two don't exclude one another, nor need
    they: both append whole lines, at once.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".flock"), thread_local=False)
        self._written = (0, 0)  # bytes whose CRC is known to who writes, and that CRC
        self._begin()
        with self._lock:  # now nobody is in the middle of a line
            self._cut_unfinished()

    def _begin(self) -> None:
        self._read, self._end = 0, 0  # lines that were read, and their bytes
        # of the file up to the end of the last line with a checksum, and of each line since
        self._crcs = {0: 0}

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yields the logs from a number on; a last line that another process may be writing waits.

        Raises:
            DamagedError: a line is not as it was written.
        """
        if log_number_from < self._read:
            self._begin()
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in iter(file.readline, b""):
                if not line.endswith(b"\n"):
                    return
                found, crc = self._verified(line), zlib.crc32(line, self._crcs[self._end])
                if found is None:
                    raise self._damaged()
                self._read, self._end = self._read + 1, self._end + len(line)
                self._crcs = {self._end: crc} if CHECK.search(line) else self._crcs | {self._end: crc}
                if self._read > log_number_from:
                    yield found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends logs, each with its checksum, or raises OSError, which names the file."""
        with self._lock:
            self._cut_unfinished()
            at, crc = self._written
            with self.path.open("rb") as file:
                file.seek(at)
                tail = file.read()
            at, crc = self._written = at + len(tail), zlib.crc32(tail, crc)
            lines = b""
            for each in logs:
                body = json.dumps(strict(each), separators=(",", ":"), allow_nan=False)[:-1].encode()
                line = body + b',"check":"%08x@%d"}\n' % (zlib.crc32(body, crc), at)
                crc, at, lines = zlib.crc32(line, crc), at + len(line), lines + line
            try:
                with self.path.open("ab") as file:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                self._cut_unfinished()  # of a full disk: the next line, of another worker, would join half a line
                error.filename = error.filename or str(self.path)
                raise

    def _cut_unfinished(self) -> None:
        """Cuts off a last line that a killed process or a full disk left unfinished, and says so."""
        with self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if end and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                log.warning("%s: an unfinished last line was cut off", self.path)

    def _verified(self, line: bytes) -> dict[str, Any] | None:
        """Returns a line's log; None if it is damaged."""
        if check := CHECK.search(line):
            # not of the line before where another program wrote in between
            crc = self._crcs.get(int(check[2]))
            if crc is None or zlib.crc32(line[: check.start()], crc) != int(check[1], 16):
                return None
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _damaged(self) -> DamagedError:
        n = self._read
        return DamagedError(
            f"the study's journal {self.path} is damaged in line {n + 1}: put back a copy of it, or keep the lines "
            f"before, from which the study goes on (head -n {n} {self.path} > whole, and move that there). Without the "
            "file the study begins anew."
        )


def open_journal(path: Path) -> JournalStorage:
    """Opens a journal, which is made if missing; an unfinished last line is cut off.

    Raises:
        DamagedError: a line is not as it was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    backend = CheckedJournal(path)
    try:
        return JournalStorage(backend)
    except DamagedError:
        raise
    except Exception as error:  # of lines without a checksum: Optuna's replay checks nothing
        raise DamagedError(
            f"the study's journal {path} is damaged ({type(error).__name__}: {error}): put back a copy of it, or give "
            "another storage.path. Without the file the study begins anew."
        ) from error
