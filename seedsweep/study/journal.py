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

    Lines without a checksum are taken as they are: of an earlier version, or of a program that writes without us. The
    next line with one covers them.

    The operating system's lock ends with its process, so a killed worker holds nobody up. Its file is not called
    ``.lock``: Optuna's own lock takes a file of that name for a writer, and whoever writes to the journal without
    seedsweep (a notebook, say) would wait out its 30 seconds of grace. The two don't exclude one another, nor need
    they: both append whole lines, at once.

    Raises:
        DamagedError: a line is not as it was written.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".flock"), thread_local=False)
        self._starts = [0]  # of each line, in bytes
        self._crcs = {0: 0}  # of the file up to there
        self._checked = 0  # end of the last line with a checksum
        with self._lock:  # now nobody is in the middle of a line
            _cut_unfinished(path)
            for _ in self._lines(strict=True):
                pass

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yields the logs from a number on."""
        with self.path.open("rb") as file:
            file.seek(self._starts[min(log_number_from, len(self._starts) - 1)])
            for number in range(log_number_from, len(self._starts) - 1):  # known, and verified
                line = file.readline()
                if self._crcs[self._starts[number + 1]] != zlib.crc32(line, self._crcs[self._starts[number]]):
                    raise self._damaged(number)
                yield json.loads(line)
        first = len(self._starts) - 1
        for number, found in enumerate(self._lines(strict=False), first):
            if number >= log_number_from:
                yield found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends logs, each with its checksum, or raises OSError, which names the file."""
        with self._lock:
            start = self._starts[-1]
            tail = self._from(start)
            if tail and not tail.endswith(b"\n"):  # a worker was killed in the midst of this line
                _cut_unfinished(self.path)
                tail = self._from(start)
            crc, at = zlib.crc32(tail, self._crcs[start]), start + len(tail)
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
                # of a full disk: the next line, of another worker, would join half a line
                _cut_unfinished(self.path)
                error.filename = error.filename or str(self.path)
                raise

    def _from(self, start: int) -> bytes:
        """Returns the file's content from a byte on."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read()

    def _lines(self, *, strict: bool) -> Iterator[dict[str, Any]]:
        """Yields the logs that were not read before; a last line that another process may be writing waits."""
        with self.path.open("rb") as file:
            end = file.seek(0, 2)
            start = file.seek(self._starts[-1])
            while start < end:
                line = file.readline()
                if not line.endswith(b"\n"):
                    return
                found = self._verified(line, start)
                if found is None:
                    if start + len(line) >= end and not strict:
                        return
                    raise self._damaged(len(self._starts) - 1)
                self._crcs[start + len(line)] = zlib.crc32(line, self._crcs[start])
                start += len(line)
                self._starts.append(start)
                if CHECK.search(line):
                    self._checked = start
                yield found

    def _verified(self, line: bytes, start: int) -> dict[str, Any] | None:
        """Returns a line's log; None if it is damaged."""
        if check := CHECK.search(line):
            at = int(check[2])  # before ``start`` where another program wrote in between, without our lock
            crc = self._crcs.get(at)
            if crc is None or not self._checked <= at <= start:
                return None
            if zlib.crc32(line[: check.start()], crc) != int(check[1], 16):
                return None
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _damaged(self, number: int) -> DamagedError:
        return DamagedError(
            f"the study's journal {self.path} is damaged in line {number + 1}: put back a copy of it, or keep the "
            f"lines before, from which the study goes on (head -n {number} {self.path} > whole, and move that there). "
            "Without the file the study begins anew."
        )


def open_journal(path: Path) -> JournalStorage:
    """Opens a journal; a last line that a killed process left unfinished is cut off."""
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


def _cut_unfinished(path: Path) -> None:
    """Cuts off a last line that a killed process or a full disk left unfinished, and says so."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
        log.warning("%s: an unfinished last line was cut off", path)
