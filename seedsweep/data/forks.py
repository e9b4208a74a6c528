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
NUMBER = 8  # bytes of a batch's number that is asked for


def pay(n: int) -> bool:
    """Says whether processes make ``n`` items ready sooner than threads, and can be had here."""
    return sys.platform == "linux" and n >= PAYS_FROM and cores.count() > THREADS_SUFFICE


class Forks(Generic[Item, Result]):
    """Processes that make batches, a few always ahead; begun as they are needed, ended by :meth:`close`.

    To fork a process that has a GPU takes 20 ms on an H200's host: the first work while the others are begun. Who is
    done takes the next batch, so nobody waits for a slow one; results are put in order here.

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
        self._crew: list[tuple[BaseProcess, Connection]] = []
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
                more = len(self._crew) < self._most and self._ordered < len(self._batches)
                if not self._receive(0 if more else None) and more:  # too few, or too slow
                    self._begin_another()
            result = self._slots.unpacked(number % self._slots.n, self._made.pop(number))
            self._taken += 1
            self._ask()
            if isinstance(result, _Failed):
                raise result.error
            yield batch, result

    def close(self) -> None:
        """Ends the processes; no tensor of a result may be in use any more."""
        for process, pipe in self._crew:
            process.kill()
            pipe.close()
        for process, _ in self._crew:
            process.join()
        self._selector.close()
        self._order.close()
        self._slots.unpin()

    def _begin(self) -> None:
        ours, its = multiprocessing.Pipe(duplex=False)
        strange = [*(pipe for _, pipe in self._crew), ours]
        process = multiprocessing.get_context("fork").Process(
            target=_serve,
            args=(self._order, its, strange, self._batches, self._work, self._slots),
            daemon=True,
        )
        try:
            with _forking():
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()  # the pipe ends with the process
        self._crew.append((process, ours))
        self._selector.register(ours, selectors.EVENT_READ)
        self._ask()

    def _begin_another(self) -> None:
        try:
            self._begin()
        except OSError as error:
            log.info("%d processes read the images: no more can be had (%s)", len(self._crew), error)
            self._most = len(self._crew)

    def _ask(self) -> None:
        """Asks for the batches whose slots are free, a few for each process."""
        until = min(len(self._batches), self._taken + UNDER_WAY * len(self._crew))
        while self._ordered < until:
            self._order.put(self._ordered)
            self._ordered += 1

    def _receive(self, seconds: float | None) -> bool:
        """Takes what has come, whatever its number; waits so long for it, None: until there is something."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            assert isinstance(key.fileobj, Connection)
            try:
                number, content = key.fileobj.recv()
            except (EOFError, ConnectionResetError) as error:
                raise SeedsweepError(
                    "a process that reads images was ended from outside, perhaps for want of memory: run the same "
                    "command again."
                ) from error
            self._made[number] = content
        return bool(ready)


class _Order:
    """Numbers for whoever takes them first: a pipe, from which the kernel gives each to one process, whole."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()

    def put(self, number: int) -> None:
        os.write(self._in, number.to_bytes(NUMBER, "little"))

    def take(self) -> int | None:
        """Waits for a number; None: there will be no more."""
        content = os.read(self._out, NUMBER)
        return int.from_bytes(content, "little") if content else None

    def only_take(self) -> None:
        """Lets the pipe end with whoever puts."""
        os.close(self._in)

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


def _serve(
    order: _Order,
    pipe: Connection,
    strange: Sequence[Connection],
    batches: Sequence[list[Item]],
    work: Callable[[Sequence[Item]], Result],
    slots: Slots,
) -> None:
    """Makes the batches that it gets to take, until nobody asks for more."""
    # not a progress bar's, whose lock a fork may find taken
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    order.only_take()
    for other in strange:  # else they stayed open when that one is gone
        other.close()
    gc.freeze()  # what it left unused stays: to free a tensor of a GPU from here would end this process
    gc.enable()
    torch.set_num_threads(1)
    with suppress(OSError):  # nobody is there to take it
        while (number := order.take()) is not None:
            slot = number % slots.n
            try:
                content = slots.packed(slot, work(batches[number]))
            except Exception as error:
                content = slots.packed(slot, _Failed(error))
            pipe.send((number, content))
    os._exit(0)


@contextmanager
def _forking() -> Iterator[None]:
    """Forks inherit that no garbage is collected yet, and that Ctrl-C is not for them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
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
