"""Work on batches, done ahead in threads and handed over in order, and the bar that shows how far it is."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from seedsweep import cores
from seedsweep.data.bar import bar
from seedsweep.data.forks import Forks, pay
from seedsweep.features.engine import Engine

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def ahead(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Result], batch: int
) -> Generator[tuple[list[Item], Result]]:
    """Yields batches in order, with what ``work`` made of them; a few are always done ahead.

    Threads, for decoder, resize and warp all work outside Python's lock: to feed a CPU's engine, processes were not
    faster, and would have to carry every batch over.

    Args:
        items: all of them.
        work: called in threads.
        batch: items a batch; the last has what is left.
    """
    threads = cores.count()
    return in_order(_batches(items, batch), work, threads, threads + 1)


def _batches(items: Sequence[Item], batch: int) -> list[list[Item]]:
    return [list(items[at : at + batch]) for at in range(0, len(items), batch)]


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int, waiting: int
) -> Generator[tuple[Item, Result]]:
    """Yields items in order, with what ``work`` made of them.

    Args:
        items: taken in the caller's thread.
        work: called in ``threads`` threads.
        threads: calls under way at the same time.
        waiting: items that are begun and not handed over yet; one more is begun before each is.

    Raises:
        Exception: of ``work`` or of ``items``, after the results of all items before it.
    """
    rest = iter(items)
    begun: deque[tuple[Item, Future[Result]]] = deque()
    broken: list[Exception] = []

    def begin(pool: ThreadPoolExecutor, n: int) -> None:
        if broken:
            return
        try:
            for item in islice(rest, n):
                begun.append((item, pool.submit(work, item)))
        except Exception as error:  # what was begun is worth as much as before
            broken.append(error)

    with ThreadPoolExecutor(threads) as pool:
        try:
            begin(pool, waiting)
            while begun:
                item, future = begun.popleft()
                result = future.result()
                begin(pool, 1)
                yield item, result
            if broken:
                raise broken[0]
        finally:  # an error or Ctrl-C: do not work on what nobody waits for
            for _, future in begun:
                future.cancel()


def answered(
    items: Sequence[Item],
    load: Callable[[Sequence[Item]], Loaded],
    batch: int,
    answer: Callable[[Loaded], Result],
    engine: Engine,
) -> Generator[tuple[list[Item], Loaded, Result]]:
    """Yields batches in order, with what ``load`` made of them ahead, and ``answer`` of that.

    Tensors among what ``load`` made are to be read before the next batch is asked for: their memory is used again.

    Args:
        items: all of them.
        load: called in threads, or in forks of this process if the engine computes on a GPU.
        batch: items a batch; the last has what is left.
        answer: called in ``engine.at_once`` threads.
        engine: that ``answer`` asks.
    """
    at_once = engine.at_once
    waiting = 2 * at_once  # they end in any order: each thread has another batch when it is done
    forks = _forks(items, load, batch, waiting) if engine.device.type == "cuda" and pay(len(items)) else None
    try:
        with closing(forks.results() if forks else ahead(items, load, batch)) as batches:
            for (some, loaded), result in in_order(batches, lambda pair: answer(pair[1]), at_once, waiting):
                yield some, loaded, result
    finally:
        if forks:  # not before the last answer
            forks.close()


def _forks(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Result], batch: int, held: int
) -> Forks[Item, Result] | None:
    try:
        return Forks(_batches(items, batch), work, held)
    except OSError as error:
        log.info("threads read the images, for processes can't be had (%s)", error)
        return None


def image_bar(title: str) -> Progress:
    """Returns a bar with images and images a second; silent where nobody watches."""
    return bar(title, _Speed())


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} images/s")
