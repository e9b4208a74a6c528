"""Work on batches in processes, for an engine that is faster than threads can feed it.

Decoder, resize and warp work outside Python's lock, but what is around them doesn't: on 16 cores 4 threads made 6,400
small photographs a second ready, 16 threads 4,300 and 16 processes 19,800 (224x224). A GPU takes more than the threads.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from seedsweep import cores
from seedsweep.errors import SeedsweepError

Item = TypeVar("Item")
Result = TypeVar("Result")

PAYS_FROM = 4096  # items: below it threads are done before the processes have begun
THREADS_SUFFICE = 4  # cores up to which they do
MEMORY = "/dev/shm", 2 * 2**30  # through which tensors come back, and what is needed of it


def pay(n: int) -> bool:
    """Says whether processes make ``n`` items ready sooner than threads, and can be had here."""
    if sys.platform != "linux" or n < PAYS_FROM or cores.count() <= THREADS_SUFFICE:
        return False
    folder, wanted = MEMORY
    try:
        return (
            shutil.disk_usage(folder).free >= wanted
        )  # a container may have 64 MiB, and ends who takes more
    except OSError:
        return False


def in_forks(
    batches: Sequence[list[Item]], work: Callable[[Sequence[Item]], Result]
) -> Generator[tuple[list[Item], Result]]:
    """Yields batches in order, with what ``work`` made of them in processes, a few always ahead.

    Args:
        batches: of items.
        work: called in forks of this process, which see all that it refers to as it is now.

    Raises:
        SeedsweepError: of ``work``, after the results of all batches before it; or a process was killed.
        OSError: likewise.
        RuntimeError: any other error of ``work``.
    """
    loader: DataLoader[Any] = DataLoader(
        _Batches(batches, work),
        batch_size=None,
        num_workers=cores.count(),
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # the seed of the processes is not drawn from the run's random numbers
    )
    with warnings.catch_warnings():  # Python's, of every fork beside threads
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        results: Any = iter(loader)
    try:
        for batch in batches:
            try:
                result = next(results)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                said = f"a process that reads images was ended ({reason}): start it again."
                raise SeedsweepError(said) from error
            if isinstance(result, _Failed):
                raise result.error
            yield batch, result
    finally:
        results._shutdown_workers()  # at once, as Lightning does: an error's traceback would keep them


class _Failed:
    """An error on its way to the process that asked."""

    def __init__(self, error: Exception) -> None:
        known = isinstance(error, SeedsweepError | OSError)
        self.error = error if known else RuntimeError(f"{type(error).__name__}: {error}")


class _Batches(Dataset[Any], Generic[Item, Result]):
    def __init__(self, batches: Sequence[list[Item]], work: Callable[[Sequence[Item]], Result]) -> None:
        self.batches, self.work = batches, work

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Result | _Failed:
        try:
            return self.work(self.batches[number])
        except Exception as error:  # a DataLoader would hand on a traceback in words
            return _Failed(error)


def _as_it_is(result: Result) -> Result:
    return result
