"""A time limit, and global state that is as it was."""

import random
import signal
import sys
import threading
import time

import numpy
import pytest
import torch

from ftkit.course import limits
from ftkit.course.limits import OutOfTime, fresh, memory_limit, time_limit, undisturbed


def endless():
    while True:
        try:
            sum(range(100))
        except Exception:
            pass


def test_an_endless_loop_is_ended_though_it_catches_every_exception_of_the_usual_kind():
    started = time.monotonic()
    with pytest.raises(OutOfTime, match="not done after 0.1 s"), time_limit(0.1):
        endless()
    assert time.monotonic() - started < 5


def test_without_timers_a_thread_ends_it(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    with pytest.raises(OutOfTime), time_limit(0.1):
        endless()
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # nothing is raised behind the block


def test_in_another_thread_it_is_ended_as_well():
    ended = []

    def work():
        try:
            with time_limit(0.1):
                endless()
        except OutOfTime as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert len(ended) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_somebody_elses_timer_and_handler_stay():
    rung = []
    earlier = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with time_limit(5):
            pass
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
        time.sleep(0.5)
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert rung == [1]


def test_generators_dtype_and_gradients_are_as_before():
    torch.manual_seed(5)
    numpy.random.seed(5)
    random.seed(5)
    wanted = torch.rand(1).item(), numpy.random.rand(), random.random()
    torch.manual_seed(5)
    numpy.random.seed(5)
    random.seed(5)
    with undisturbed():
        torch.rand(3), numpy.random.rand(3), random.random()
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
    assert (torch.rand(1).item(), numpy.random.rand(), random.random()) == wanted
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.get_default_device().type == "cpu"


def test_inside_everything_starts_from_the_same_place():
    drawn = []
    for _ in range(2):
        with fresh():
            drawn.append((torch.rand(1).item(), numpy.random.rand(), random.random()))
    assert drawn[0] == drawn[1]
    torch.set_default_dtype(torch.float64)
    try:
        with fresh():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert issubclass(limits.OutOfTime, BaseException) and not issubclass(limits.OutOfTime, Exception)


def test_memory_is_refused_inside_and_given_again_behind():
    if not sys.platform.startswith("linux"):
        pytest.skip("this system does not refuse memory to a process")
    for _ in range(2):
        with pytest.raises(MemoryError), memory_limit(0.2):
            bytearray(2 ** 30)
        with pytest.raises(RuntimeError, match="can't allocate memory"), memory_limit(0.2):
            torch.empty(2 ** 28)
    assert len(bytearray(2 ** 29)) == 2 ** 29


def test_where_memory_cannot_be_limited_it_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    with memory_limit(0.001):
        assert len(bytearray(2 ** 26)) == 2 ** 26
