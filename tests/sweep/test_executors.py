"""Slots by the interface of concurrent.futures, and a GPU for each point."""

import threading
from concurrent.futures import Executor

import pytest

from ftkit.errors import Refusal
from ftkit.sweep.executors import Serial, gpu_for, opened, visible_gpus


@pytest.mark.parametrize(("kind", "jobs"), [("serial", 1), ("forked", 2)])
def test_every_executor_gives_futures(kind, jobs):
    with opened(kind, jobs) as (executor, at_once):
        assert isinstance(executor, Executor) and at_once == jobs
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)


def test_the_serial_executor_works_in_the_thread_that_submits():
    assert Serial().submit(threading.get_ident).result() == threading.get_ident()


@pytest.mark.parametrize(("asked", "words"), [
    (("threads",), "executor must be one of forked, serial, dask, got 'threads'"),
    (("forked", 0), "jobs must be 1 or more, got 0"), (("forked", True), "jobs must be 1 or more"),
    (("serial", 2), "jobs must be 1 for the serial executor, got 2")])
def test_an_executor_that_cannot_be_is_refused(asked, words):
    with pytest.raises(Refusal, match=words), opened(*asked):
        pass


def test_each_point_gets_the_gpu_that_fewest_use():
    assert gpu_for([], []) is None and gpu_for(["3"], ["3", "3"]) == "3"
    given = []
    for _ in range(5):
        given.append(gpu_for(["0", "1", "4"], given))
    assert given == ["0", "1", "4", "0", "1"]
    assert gpu_for(["0", "1"], ["1", None]) == "0"


def test_gpus_are_found_without_starting_cuda(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus(tmp_path) == ("0", "1") and visible_gpus(tmp_path / "none") == ()
    for named, found in (("2,GPU-7a", ("2", "GPU-7a")), ("", ()), ("-1", ())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus(tmp_path) == found
