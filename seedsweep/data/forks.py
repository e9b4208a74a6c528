"""Work on batches in processes, for an engine that is faster than threads can feed it.

Decoder, resize and warp work outside Python's lock, but what is around them doesn't: on 16 cores 4 threads made 6,400
small photographs a second ready, 16 threads 4,300 and 16 processes 19,800 (224x224); a GPU takes more than the threads
give. What the processes make lies in memory that all share, from where a GPU fetches it: by way of a DataLoader's
workers, each of whose tensors comes in a file of its own, at most 7,100 a second arrived.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import selectors
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

import torch

from seedsweep import cores
from seedsweep.data.shared import Slots
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

PAYS_FROM = 4096  # items: below it threads are done before the processes have begun
THREADS_SUFFICE = 4  # cores up to which they do
MOST = 32  # processes: more than any GPU of today needs, and their batches take memory
UNDER_WAY = 2  # batches a process: while one waits to be fetched, the next is made
PATIENCE = 5.0  # seconds in which processes that have nothing to do end by themselves
NUMBER = 8  # bytes of a batch's number that is asked for


def pay(n: int) -> bool:
    """Says whether processes make ``n`` items ready sooner than threads, and can be had here."""
    return sys.platform == "linux" and n >= PAYS_FROM and cores.count() > THREADS_SUFFICE


class Forks(Generic[Item, Result]):
    """Processes that make batches, a few always ahead; ended by :meth:`close`.

    To fork a process that has a GPU takes 20 ms on an H200's host, in which none of its threads works: it is forked
    once, and the rest are forks of forks. Who is done takes the next batch, so nobody waits for a slow one; results are
    put in order here.

    Args:
        batches: of items.
        work: called in forks of this process, which see all that it refers to as it was when they were begun.
        held: results that stay in use when the next is asked for; the tensors of those before them change.

    Raises:
        OSError: the system gives no such memory, or not even one process.
    """

    def __init__(
        self, batches: Sequence[list[Item]], work: Callable[[Sequence[Item]], Result], held: int
    ) -> None:
        self._batches = batches
        self._work = work
        self._most = min(cores.count(), MOST, len(batches))
        self._slots = Slots(UNDER_WAY * self._most + held + 1)
        self._first: BaseProcess | None = None
        self._pipes: dict[Connection, bool] = {}  # and whether its process has begun
        self._selector = selectors.DefaultSelector()
        self._order = _Order()
        self._ordered = self._taken = 0  # batches
        self._made: dict[int, bytes] = {}  # by number, before their turn
        try:
            if batches:
                self._begin()
        except BaseException:
            self.close()
            raise

    def results(self) -> Generator[tuple[list[Item], Result]]:
        """Yields batches in order, with what ``work`` made of them.

        Raises:
            SeedsweepError: of ``work``, after the results of all batches before it; or a process was killed.
            OSError: likewise.
            RuntimeError: any other error of ``work``.
        """
        for number, batch in enumerate(self._batches):
            while number not in self._made:
                self._receive()
            result = self._slots.unpacked(number % self._slots.n, self._made.pop(number))
            self._taken += 1
            self._ask()
            if isinstance(result, _Failed):
                raise result.error
            yield batch, result

    def close(self) -> None:
        """Ends the processes; no tensor of a result may be in use any more.

        With work left they are killed: the first is waited for, the forks of forks are their new parent's.
        """
        self._order.end()
        if self._first is not None:
            if self._taken == len(self._batches):  # they end by themselves
                self._first.join(PATIENCE)
            if self._first.exitcode is None:
                with suppress(ProcessLookupError):
                    os.killpg(_group(self._first), signal.SIGKILL)
            self._first.join()
        for pipe in self._pipes:
            pipe.close()
        self._selector.close()
        self._order.close()
        self._slots.unpin()

    def _begin(self) -> None:
        its: list[Connection] = []
        try:
            for _ in range(self._most):
                ours, other = multiprocessing.Pipe(duplex=False)
                its.append(other)
                self._pipes[ours] = False
                self._selector.register(ours, selectors.EVENT_READ)
            first = multiprocessing.get_context("fork").Process(
                target=_grow,
                args=(self._order, its, list(self._pipes), self._batches, self._work, self._slots),
                daemon=True,
            )
            with _forking():
                first.start()
                self._first = first  # before a Ctrl-C that waits
        finally:
            for pipe in its:  # each ends with its process
                pipe.close()
        with suppress(OSError):  # it does so itself, perhaps later
            os.setpgid(_group(first), _group(first))
        self._ask()

    def _ask(self) -> None:
        """Asks for the batches whose slots are free, a few for each process."""
        until = min(len(self._batches), self._taken + UNDER_WAY * self._most)
        while self._ordered < until:
            self._order.put(self._ordered)
            self._ordered += 1
        if self._ordered == len(self._batches):
            self._order.end()

    def _receive(self) -> None:
        """Waits until something comes, and takes it, whatever its number."""
        for key, _ in self._selector.select():
            pipe = key.fileobj
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except (EOFError, OSError):  # in the middle of a message, or between two
                self._gone(pipe)
                continue
            if said is None:
                self._pipes[pipe] = True
            else:
                number, content = said
                self._made[number] = content

    def _gone(self, pipe: Connection) -> None:
        begun = self._pipes.pop(pipe)
        self._selector.unregister(pipe)
        pipe.close()
        missing = len(self._made) + self._taken < len(self._batches)
        if (begun and not self._order.ended) or (missing and not self._pipes):
            raise SeedsweepError(
                "a process that reads images was ended from outside, perhaps for want of memory: run the same "
                "command again."
            )
        if not begun:
            log.debug("one process less reads the images: it can't be had, or was ended before it began")


class _Order:
    """Numbers for whoever takes them first: a pipe, from which the kernel gives each to one process, whole."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        self.ended = False

    def put(self, number: int) -> None:
        os.write(self._in, number.to_bytes(NUMBER, "little"))

    def take(self) -> int | None:
        """Waits for a number; None: there will be no more."""
        content = os.read(self._out, NUMBER)
        return int.from_bytes(content, "little") if content else None

    def end(self) -> None:
        """There will be no more, once the last process that may put has said so."""
        if not self.ended:
            self.ended = True  # first: a Ctrl-C may come between, and another file get the number
            os.close(self._in)

    def close(self) -> None:
        self.end()
        os.close(self._out)


def _group(first: BaseProcess) -> int:
    assert first.pid is not None
    return first.pid


def _grow(
    order: _Order,
    pipes: list[Connection],
    strange: Sequence[Connection],
    batches: Sequence[list[Item]],
    work: Callable[[Sequence[Item]], Result],
    slots: Slots,
) -> None:
    """Forks until each pipe has a process; each takes half of its parent's pipes, so many begin at the same time."""
    os.setpgid(0, 0)  # so that all can be ended at once
    # not a progress bar's, whose lock a fork may find taken
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    order.end()
    for other in strange:
        other.close()
    gc.freeze()  # what it left unused stays: to free a tensor of a GPU from here would end this process
    children: list[int] = []
    while len(pipes) > 1:
        half = len(pipes) // 2
        mine, theirs = pipes[:half], pipes[half:]
        try:
            child = os.fork()
        except OSError:  # these pipes end, and that says it
            child = -1
        if child == 0:
            mine, theirs, children = theirs, mine, []
        elif child > 0:
            children.append(child)
        for other in theirs:  # else they stayed open when their process is gone
            other.close()
        pipes = mine
    _serve(order, pipes[0], batches, work, slots)
    pipes[0].close()
    for child in children:
        with suppress(OSError):
            os.waitpid(child, 0)
    os._exit(0)


def _serve(
    order: _Order,
    pipe: Connection,
    batches: Sequence[list[Item]],
    work: Callable[[Sequence[Item]], Result],
    slots: Slots,
) -> None:
    """Makes the batches that it gets to take, until there are no more."""
    gc.enable()
    torch.set_num_threads(1)
    with suppress(OSError):  # nobody is there to take it
        pipe.send(None)  # here it is
        while (number := order.take()) is not None:
            slot = number % slots.n
            try:
                content = slots.packed(slot, partial(work, batches[number]))
            except Exception as error:
                content = slots.packed(slot, partial(_Failed, error))
            pipe.send((number, content))


@contextmanager
def _forking() -> Iterator[None]:
    """Forks inherit that no garbage is collected yet, and that Ctrl-C is not for them.

    They are no job of the terminal's foreground, which may stop whoever writes to it unasked (``stty tostop``).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTTOU})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:  # a Ctrl-C that waited comes between
        if collecting:
            gc.enable()


class _Failed:
    """An error on its way to the process that asked."""

    def __init__(self, error: Exception) -> None:
        known = isinstance(error, SeedsweepError | OSError)
        self.error = error if known else RuntimeError(f"{type(error).__name__}: {error}")
