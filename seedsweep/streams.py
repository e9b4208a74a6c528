"""Standard output and error whose writes never fail: if the reader is gone, text is lost and the run goes on."""

from __future__ import annotations

import io
import logging
import os
import select
import stat
import sys
from contextlib import suppress
from typing import Any

LONGEST_WAIT = 10.0  # seconds, once, for a reader who takes nothing
PIECE = 512  # bytes: what every system's pipe takes without waiting, once it says that it takes something
NAMES = {1: "stdout", 2: "stderr"}


class _Protected(io.RawIOBase):
    """A file descriptor whose write never fails.

    A closed pipe or terminal, or a full disk, gets nothing more. A reader who takes nothing is waited for once;
    after that, what does not fit at once is left out.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.name = f"<{name}>"
        self._fd = fd
        self._waits = not stat.S_ISREG(os.fstat(fd).st_mode) and hasattr(select, "poll")
        self._longest_wait = LONGEST_WAIT
        self._gone = False
        self._again = 0  # bytes of the next write that were written before a signal came

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Writes bytes, or leaves them out; returns their number."""
        content = memoryview(content).cast("B")
        written = [self._again]
        try:
            while (at := sum(written)) < len(content) and not self._gone and self._takes():
                piece = content[at : at + PIECE] if self._waits else content[at:]
                with suppress(BlockingIOError):  # another process shares it, and was first
                    written.extend(
                        map(os.write, (self._fd,), (piece,))
                    )  # one call: no signal between its parts
        except OSError:
            self._gone = True
            with suppress(OSError):  # what C libraries print goes nowhere either
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._fd)
                os.close(nowhere)
        except BaseException:  # a signal's: the same bytes will come again
            self._again = sum(written)
            raise
        self._again = 0
        return len(content)

    def _takes(self) -> bool:
        """Says whether something can be written without waiting for ever."""
        if not self._waits:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        ready = bool(poll.poll(self._longest_wait * 1000))
        if not ready:
            self._longest_wait = 0.0
        return ready


def protect() -> None:
    """Puts streams that never fail in the place of standard output and error, in the log's handlers too.

    A descriptor that is closed (``>&-``) is opened on nothing: else the next file would get its number, and with it
    what is printed.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != fd:
                os.dup2(nowhere, fd)
                os.close(nowhere)
    logging.raiseExceptions = False  # no traceback on the terminal where a log can't be written
    for fd, name in NAMES.items():
        _replace(fd, name)


def _replace(fd: int, name: str) -> None:
    old: Any = getattr(sys, name)
    if old is not None:
        try:
            if old.fileno() != fd:
                return  # a test's, a notebook's: theirs
        except (OSError, ValueError):
            return
        with suppress(OSError, ValueError):
            old.flush()
    new = io.TextIOWrapper(
        io.BufferedWriter(_Protected(fd, name)),
        encoding=getattr(old, "encoding", None) or "utf-8",
        # a letter that the terminal has not, or a name that is no text, is written as its number
        errors=errors
        if (errors := getattr(old, "errors", None)) not in (None, "strict")
        else "backslashreplace",
        line_buffering=fd == 2
        or getattr(old, "line_buffering", False)
        or getattr(old, "write_through", False),
    )
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler and handler.stream is old:
            handler.setStream(new)
