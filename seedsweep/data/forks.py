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
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from seedsweep import cores
from seedsweep.data.shared import Slots
from seedsweep.errors import SeedsweepError

Item = TypeVar("Item")
Result = TypeVar("Result")

PAYS_FROM = 4096  # items: below it threads are done before the processes have begun
THREADS_SUFFICE = 4  # cores up to which they do
UNDER_WAY = 2  # batches a process: while one waits to be fetched, the next is made


def pay(n: int) -> bool:
    """Says whether processes make ``n`` items ready sooner than threads, and can be had here."""
    return sys.platform == "linux" and n >= PAYS_FROM and cores.count() > THREADS_SUFFICE


def in_forks(
    batches: Sequence[list[Item]], work: Callable[[Sequence[Item]], Result], held: int
) -> Generator[tuple[list[Item], Result]]:
    """Yields batches in order, with what ``work`` made of them in processes, a few always ahead.

    Args:
        batches: of items.
        work: called in forks of this process, which see all that it refers to as it is now.
        held: results that stay in use when the next is asked for; the tensors of those before them change.

    Raises:
        SeedsweepError: of ``work``, after the results of all batches before it; or a process was killed.
        OSError: likewise.
        RuntimeError: any other error of ``work``.
    """
    n = min(cores.count(), len(batches))
    ahead = UNDER_WAY * n
    slots = Slots(ahead + held + 1)
    crew: list[tuple[BaseProcess, Connection]] = []
    try:
        with _forking():
            for first in range(n):
                crew.append(_begun([*crew], batches[first::n], work, slots))

        def grant(number: int) -> None:
            """Lets a batch be made: its slot is free."""
            if number < len(batches):
                crew[number % n][1].send(number % slots.n)

        for number in range(ahead):
            grant(number)
        for number, batch in enumerate(batches):
            slot = number % slots.n
            result = slots.unpacked(slot, crew[number % n][1].recv_bytes())
            grant(number + ahead)
            if isinstance(result, _Failed):
                raise result.error
            yield batch, result
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise SeedsweepError("a process that reads images was ended from outside: start it again.") from error
    finally:
        for process, pipe in crew:
            process.kill()
            pipe.close()
        for process, _ in crew:
            process.join()
        slots.unpin()


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes from whoever began it
    for other in strange:  # else they stayed open when that one is gone
        other.close()
    gc.freeze()  # what it left unused stays: to free a tensor of a GPU from here would end this process
    gc.enable()
    torch.set_num_threads(1)
    try:
        for batch in batches:
            slot = pipe.recv()
            try:
                result: Any = work(batch)
            except Exception as error:
                result = _Failed(error)
            pipe.send_bytes(slots.packed(slot, result))
    except (EOFError, OSError):
        os._exit(0)


@contextmanager
def _forking() -> Iterator[None]:
    """Forks may neither collect garbage nor meet Ctrl-C before they know what to do then."""
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
