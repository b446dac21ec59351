"""Limits of time and memory for a piece of code, and torch and the random generators as they were after it.

Knows nothing about what the code is for.
"""

import contextlib
import ctypes
import random
import signal
import threading
from collections.abc import Iterator

import numpy
import psutil
import torch

from ftkit.units import GIB


class OutOfTime(BaseException):
    """Code ran past its limit. No `Exception`, so that a learner's `except Exception` does not swallow it."""


@contextlib.contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Ends what runs inside after so many seconds, by an OutOfTime raised in the middle of it.

    In the main thread of a system with timers it is the timer's signal, which ends a wait as well. Elsewhere a second
    thread asks the interpreter to raise it, which takes effect at the next line of Python. Neither ends a single long
    computation inside torch, nor code that catches every exception: for those there is `ftkit check NOTEBOOK`.

    Raises:
        OutOfTime: the time was over.
    """
    by_signal = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    with (_by_signal if by_signal else _by_thread)(limit_s):
        yield


@contextlib.contextmanager
def _by_signal(limit_s: float) -> Iterator[None]:
    over = []

    def ring(*_):
        if not over:
            raise OutOfTime(f"not done after {limit_s:g} s")

    earlier = signal.signal(signal.SIGALRM, ring)
    left_s, every_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        try:
            over.append(True)  # it may ring between these lines, too
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
            if left_s:  # somebody else's timer
                signal.setitimer(signal.ITIMER_REAL, left_s, every_s)


@contextlib.contextmanager
def _by_thread(limit_s: float) -> Iterator[None]:
    here, lock, over = ctypes.c_ulong(threading.get_ident()), threading.Lock(), []

    def ring():
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(here, ctypes.py_object(OutOfTime))

    timer = threading.Timer(limit_s, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over.append(True)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(here, None)  # one that was asked for and not yet raised
        timer.cancel()


@contextlib.contextmanager
def memory_limit(more_gib: float) -> Iterator[None]:
    """Lets what runs inside have so much memory more than this process has now, where the system can refuse the rest.

    There it raises MemoryError, and torch a RuntimeError. Elsewhere (Windows, macOS) nothing is limited.

    Args:
        more_gib: GiB of data.
    """
    try:
        import resource

        earlier = resource.getrlimit(resource.RLIMIT_DATA)
        most = int(psutil.Process().memory_info().data + more_gib * GIB)
        if earlier[1] != resource.RLIM_INFINITY:
            most = min(most, earlier[1])
        resource.setrlimit(resource.RLIMIT_DATA, (most, earlier[1]))
    except (ImportError, AttributeError, ValueError, OSError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, earlier)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Puts back afterwards: the generators of torch, numpy and Python, torch's default dtype and device, gradients."""
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    dtype, device, gradients = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_default_device() != device:
            torch.set_default_device(device)


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """`undisturbed`, and inside: generators seeded with 0, float32, gradients on."""
    with undisturbed():
        torch.manual_seed(0)
        numpy.random.seed(0)
        random.seed(0)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        yield
