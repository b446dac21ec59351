"""Where points run, by the interface of concurrent.futures. Knows nothing about points.

What is given to these executors (`supervising.supervised`) starts a process of its own, so a slot costs a thread and a
point that dies leaves its slot unharmed.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor


class Serial(Executor):
    """One call after the other, each at once when it is submitted, in the thread that submits it."""

    def submit(self, function: Callable, /, *arguments: object, **named: object) -> Future:
        """The result of the call, which is over when this returns."""
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class Forked(ThreadPoolExecutor):
    """So many calls at once on this machine, their processes forked from a warm parent where that can be."""
