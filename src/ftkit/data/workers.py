"""The same function over many items in several processes, in order, with progress told to a callback.

Knows nothing about records.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from ftkit.errors import refusal

CHUNK = 500  # items that a process is given at a time
FEWEST = 4 * CHUNK  # fewer than this are done before a second process has started

Progress = Callable[[str, int, int], object]


class Workers:
    """How many processes a step may use, and whom to tell about progress; processes live as long as one `map`.

    Args:
        processes: how many; None takes all cores that this process may use; 1 stays in this process.
        progress: called with the step's name, how many items are done, and how many there are.

    Raises:
        Refusal: fewer than one process.
    """

    def __init__(self, processes: int | None = None, progress: Progress | None = None):
        if processes is not None and processes < 1:
            raise refusal("processes", "1 or more", processes, "Leave it out to use all cores.")
        self.processes = processes or cores()
        self.progress = progress or (lambda *_: None)

    def map(self, step: str, function: Callable, items: Sequence) -> Iterator:
        """The function's result for each item, in the items' order; the function must be one that can be pickled.

        Args:
            step: the name that progress is told under.
            function: of one item.
            items: at least their number must be known.
        """
        chunks = [items[start:start + CHUNK] for start in range(0, len(items), CHUNK)]
        done = 0
        for results in self._chunks(function, chunks, len(items)):
            yield from results
            done += len(results)
            self.progress(step, done, len(items))

    def counted(self, step: str, items: Sequence) -> Iterator:
        """The items themselves, one by one in this process, with progress told as `map` does."""
        for done, item in enumerate(items, start=1):
            yield item
            if done % CHUNK == 0 or done == len(items):
                self.progress(step, done, len(items))

    def _chunks(self, function: Callable, chunks: list, count: int) -> Iterator[list]:
        if self.processes == 1 or count < FEWEST:
            yield from ([function(item) for item in chunk] for chunk in chunks)
            return
        # a forked process has all that this one has loaded, and no torch is called in it; elsewhere it is not safe
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        with ProcessPoolExecutor(self.processes, context, _follow, (os.getpid(),)) as pool:
            yield from pool.map(_apply, [function] * len(chunks), chunks)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _apply(function: Callable, items: Sequence) -> list:
    return [function(item) for item in items]


def _follow(parent: int) -> None:
    """A worker ends when the process that started it is killed; it would wait for ever otherwise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
