"""Runs work on batches in threads, hands results over in order, and shows a progress bar.

Decoder, resize and warp run outside Python's lock: threads use all cores, and no batch is copied between processes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from seedsweep import cores

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def load_and_compute(
    items: Sequence[Item],
    load: Callable[[Sequence[Item]], Loaded],
    batch: int,
    compute: Callable[[Loaded], Result],
    at_once: int,
) -> Generator[tuple[list[Item], Loaded, Result]]:
    """Yields batches in order, with what ``load`` made of them ahead, and what ``compute`` made of that.

    Args:
        load: called in threads, one for each core.
        batch: items in a batch; the last has what is left.
        compute: called in other threads.
    """
    threads = cores.count()
    batches = [list(items[at : at + batch]) for at in range(0, len(items), batch)]
    # twice as many wait as are computed: calls end in any order, and each thread finds another batch at once
    with closing(in_order(batches, load, threads, threads + 1)) as loaded:
        for (some, made), result in in_order(loaded, lambda pair: compute(pair[1]), at_once, 2 * at_once):
            yield some, made, result


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int, waiting: int
) -> Generator[tuple[Item, Result]]:
    """Yields items in order, with what ``work`` made of them.

    Args:
        items: taken in the caller's thread.
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
        except Exception as error:  # the items before it still count
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
        finally:  # after an error or Ctrl-C the rest is not needed
            for _, future in begun:
                future.cancel()


def in_threads(one: Callable[[int], None], rows: Sequence[int], workers: int, title: str) -> None:
    """Calls ``one`` with each of ``rows`` in threads (-1: one for each core), with a progress bar."""
    if not rows:
        return
    with image_bar(title) as progress, ThreadPoolExecutor(workers if workers > 0 else cores.count()) as pool:
        task = progress.add_task("", total=len(rows))
        for _ in pool.map(one, rows):
            progress.advance(task)


def image_bar(title: str) -> Progress:
    """Returns a bar with images and images a second; it writes nothing unless standard output is a terminal.

    Without a console of its own, rich writes an empty line even for a disabled bar.
    """
    watched = sys.stdout.isatty()
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    console = None if watched else Console(quiet=True)
    return Progress(*columns, transient=True, disable=not watched, console=console)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} images/s")
