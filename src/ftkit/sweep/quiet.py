"""optuna without its messages about studies in memory, which mean nothing to whoever sweeps."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """While open, optuna says warnings and errors alone; afterwards it is as talkative as before."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
