"""A line now and then about work that takes long. Knows nothing about the work."""

import time

from ftkit.units import seconds_to_words

_EVERY_S = 5.0
_EVERY_SHARE = 0.05


class Lines:
    """Printed lines about how far something is: none in the first five seconds, and never more than twenty.

    They are plain lines, so that a notebook, a terminal, papermill and a log file all can hold them.

    Args:
        what: what it is about, in front of every line.
        clock: gives seconds.

    Example:
        >>> seconds = iter([0.0, 1.0, 8.0, 9.0])
        >>> lines = Lines("model", clock=lambda: next(seconds))
        >>> lines.reach(0.1, "file 1 of 4")
        >>> lines.reach(0.5, "file 2 of 4")
        model: 50 %, file 2 of 4, 8.00 s so far
        >>> lines.reach(0.9, "file 4 of 4")
    """

    def __init__(self, what: str, clock=time.monotonic):
        self._what, self._clock = what, clock
        self._began_s = clock()
        self._spoke_s, self._shown = self._began_s, 0.0

    def reach(self, share: float, doing: str) -> None:
        """Prints a line, if the last one is old enough and enough has been done since.

        Args:
            share: what is done, from 0 to 1.
            doing: what is being done, in words.
        """
        now_s = self._clock()
        if now_s - self._spoke_s >= _EVERY_S and share - self._shown >= _EVERY_SHARE:
            self._spoke_s, self._shown = now_s, share
            print(f"{self._what}: {share:.0%}".replace("%", " %")
                  + f", {doing}, {seconds_to_words(now_s - self._began_s)} so far", flush=True)
