"""Work on batches in processes, for an engine that is faster than threads can feed it.

Decoder, resize and warp work outside Python's lock, but what is around them doesn't: on 16 cores 4 threads made 6,400
small photographs a second ready, 16 threads 4,300 and 16 processes 19,800 (224x224); a GPU takes more than the threads
give. What the processes make lies in memory that all share, from where a GPU fetches it: by way of a DataLoader's
workers, each of whose tensors comes in a file of its own, at most 7,100 a second arrived.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

import torch

from seedsweep import cores
from seedsweep.data.shared import Slots
from seedsweep.errors import SeedsweepError

Item = TypeVar("Item")
Result = TypeVar("Result")

PAYS_FROM = 4096  # items: below it threads are done before the processes have begun
THREADS_SUFFICE = 4  # cores up to which they do
MOST = 32  # processes: more than any GPU of today needs, and their batches take memory
UNDER_WAY = 2  # batches a process: while one waits to be fetched, the next is made


def pay(n: int) -> bool:
    """Says whether processes make ``n`` items ready sooner than threads, and can be had here."""
    return sys.platform == "linux" and n >= PAYS_FROM and cores.count() > THREADS_SUFFICE


class Forks(Generic[Item, Result]):
    """Processes that make batches, a few always ahead; begun here, ended by :meth:`close`.

    Args:
        batches: of items.
        work: called in forks of this process, which see all that it refers to as it is now.
        held: results that stay in use when the next is asked for; the tensors of those before them change.

    Raises:
        OSError: the system gives no such memory, or no more processes.
    """

    def __init__(
        self, batches: Sequence[list[Item]], work: Callable[[Sequence[Item]], Result], held: int
    ) -> None:
        self._batches = batches
        n = min(cores.count(), MOST, len(batches))
        self._ahead = UNDER_WAY * n
        self._slots = Slots(self._ahead + held + 1)
        self._crew: list[tuple[BaseProcess, Connection]] = []
        try:
            with _forking():
                for first in range(n):
                    self._crew.append(_begun([*self._crew], batches[first::n], work, self._slots))
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
        for number in range(self._ahead):
            self._grant(number)
        for number, batch in enumerate(self._batches):
            try:
                content = self._pipe(number).recv_bytes()
            except (EOFError, ConnectionResetError) as error:
                raise SeedsweepError(
                    "a process that reads images was ended from outside, perhaps for want of memory: run the same "
                    "command again."
                ) from error
            result = self._slots.unpacked(number % self._slots.n, content)
            self._grant(number + self._ahead)
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
        self._slots.unpin()

    def _pipe(self, number: int) -> Connection:
        return self._crew[number % len(self._crew)][1]

    def _grant(self, number: int) -> None:
        """Lets a batch be made: its slot is free."""
        if number < len(self._batches):
            with suppress(BrokenPipeError):  # it is missed when its turn comes
                self._pipe(number).send(number % self._slots.n)


def _begun(
    others: Sequence[tuple[BaseProcess, Connection]],
    batches: Sequence[list[Item]],
    work: Callable[[Sequence[Item]], Result],
    slots: Slots,
) -> tuple[BaseProcess, Connection]:
    ours, its = multiprocessing.Pipe()
    strange = [*(pipe for _, pipe in others), ours]
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(its, strange, batches, work, slots), daemon=True
    )
    process.start()
    its.close()  # the pipe ends with the process
    return process, ours


def _serve(
    pipe: Connection,
    strange: Sequence[Connection],
    batches: Sequence[list[Item]],
    work: Callable[[Sequence[Item]], Result],
    slots: Slots,
) -> None:
    """Makes a process' batches, each when its slot is free, until the last, or until nobody asks for more."""
    # not a progress bar's, whose lock a fork may find taken
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for other in strange:  # else they stayed open when that one is gone
        other.close()
    gc.freeze()  # what it left unused stays: to free a tensor of a GPU from here would end this process
    gc.enable()
    torch.set_num_threads(1)
    try:
        for batch in batches:
            slot = pipe.recv()
            try:
                content = slots.packed(slot, work(batch))
            except Exception as error:
                content = slots.packed(slot, _Failed(error))
            pipe.send_bytes(content)
    except (EOFError, OSError):
        os._exit(0)


@contextmanager
def _forking() -> Iterator[None]:
    """Forks inherit that no garbage is collected yet, and that Ctrl-C is not for them."""
    collecting = gc.isenabled()
    gc.disable()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():  # Python's, of every fork beside threads
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if collecting:
            gc.enable()


class _Failed:
    """An error on its way to the process that asked."""

    def __init__(self, error: Exception) -> None:
        known = isinstance(error, SeedsweepError | OSError)
        self.error = error if known else RuntimeError(f"{type(error).__name__}: {error}")
