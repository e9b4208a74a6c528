"""Ctrl-C, SIGTERM and SIGHUP end a process in one way: by an exception.

A library may catch that exception and drop it; :func:`asked` still says that a signal came.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
ALARM = getattr(signal, "SIGALRM", None)  # nor this
TOGETHER = 1.0  # seconds: a closing terminal sends SIGHUP twice, timeout(1) SIGTERM
AGAIN = 0.05  # seconds after which a lost exception is raised anew


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end: what was trained is kept, and nothing new is begun."""


class Stop:
    """The handler of all three signals, and what it knows.

    The first signal raises :class:`Stopped` in the main thread. Signals that come within ``TOGETHER`` count as
    one; a later one ends the process at once.

    Attributes:
        number: of the signal that came; 0: none did.
    """

    def __init__(self) -> None:
        self.number: int = 0
        self._process = os.getpid()
        self._since = 0.0
        self._lost = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Acts on a signal."""
        if os.getpid() != self._process:  # a fork: its parent ends it
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.number and not self._lost:
            if time.monotonic() - self._since > TOGETHER:
                os._exit(128 + number)
            return
        if not self.number:
            self.number, self._since = number, time.monotonic()
        self._lost = False
        raise Stopped(signal.Signals(self.number).name)

    def raise_again(self) -> None:
        """Raises the exception a second time, soon: the first was lost where Python can't hand one on."""
        self._lost = True
        main = threading.main_thread().ident
        # Windows has no pthread_kill: there the next check() raises it
        if main is not None and hasattr(signal, "pthread_kill"):
            threading.Timer(AGAIN, signal.pthread_kill, (main, self.number)).start()

    @property
    def code(self) -> int:
        """The exit status that shells give a process which ended by this signal."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def heard(*, to_the_end: bool = False) -> Iterator[Stop]:
    """Listens to the signals that are not ignored: ``nohup`` ignores SIGHUP, a shell's ``&`` SIGINT.

    Args:
        to_the_end: the process ends after the block, and no signal may disturb that with a traceback.
    """
    stop = Stop()
    earlier: dict[int, Any] = {}
    hook = sys.unraisablehook

    def unraisable(args: Any) -> None:
        if isinstance(args.exc_value, Stopped):  # in __del__, or in a callback of a C library
            stop.raise_again()
        else:
            hook(args)

    if threading.current_thread() is threading.main_thread():
        for each in _numbers():
            if (handler := signal.getsignal(each)) not in (signal.SIG_IGN, None):
                earlier[each] = handler
                signal.signal(each, stop)
        sys.unraisablehook = unraisable
    try:
        yield stop
    finally:
        for one, handler in earlier.items():
            signal.signal(one, signal.SIG_DFL if to_the_end else handler)
        if earlier:
            sys.unraisablehook = hook


def number() -> int:
    """Returns the signal that has come; 0: none. It is read from the process's own table of handlers."""
    listening = (each for each in map(signal.getsignal, _numbers()) if isinstance(each, Stop))
    return next((stop.number for stop in listening), 0)


def asked() -> bool:
    """Says whether a signal has come."""
    return number() != 0


def check() -> None:
    """Raises :class:`Stopped` if a signal has come: to be called before something new is begun or judged.

    A library may swallow the exception, or turn it into another one, which would then pass for a failure.
    """
    if asked():
        raise Stopped


class Alarm:
    """Whether the time of :func:`alarm` ran out."""

    rang = False


@contextmanager
def alarm(seconds: float) -> Iterator[Alarm]:
    """Stops what is under way after ``seconds``, as Ctrl-C does; after the block the process is as before.

    Windows has no such alarm: there the time is looked at between two epochs alone. Nor is there one outside of
    :func:`heard`, or in another thread than the main one.
    """
    found = Alarm()
    stop = signal.getsignal(signal.SIGINT)
    if (
        ALARM is None
        or not isinstance(stop, Stop)
        or threading.current_thread() is not threading.main_thread()
    ):
        yield found
        return

    def ring(number: int, frame: FrameType | None) -> None:
        if not stop.number:
            found.rang = True
            stop(number, frame)

    earlier = signal.signal(ALARM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds) if seconds < threading.TIMEOUT_MAX else 0)
    try:
        yield found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(ALARM, earlier)
        if found.rang:
            stop.number = 0


@contextmanager
def blocked() -> Iterator[None]:
    """Lets what is started inherit a mask that holds the signals back, and takes none meanwhile."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _numbers())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def unblock() -> None:
    """Takes the signals again, in a process that was started while they were :func:`blocked`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _numbers())


def _numbers() -> list[signal.Signals]:
    return [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
