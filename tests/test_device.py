import random
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch

from ftkit import device
from ftkit.errors import Refusal


@pytest.mark.parametrize("name, words", [
    ("gpu", r"device must be one of auto, cpu, cuda, mps, got 'gpu'\."),
    ("cpuu", r"device must be one of .*Did you mean cpu"),
    ("cuda:x", r"device must be one of auto, cpu, cuda, mps, got 'cuda:x'"),
    ("cpu:1", r"device must be one that is here, got 'cpu:1'\. There are 1 cpu device here: take 'auto' or 'cpu'\."),
    ("cuda:99", r"device must be one that is here, got 'cuda:99'\. There are \d+ cuda devices? here"),
])
def test_a_device_that_is_not_here_is_refused(name, words):
    with pytest.raises(Refusal, match=words):
        device.choose_device(name)


def test_auto_takes_the_gpu_where_torch_sees_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.choose_device() == torch.device("cpu")


@pytest.mark.parametrize("capability, dtype", [
    ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)])
def test_bfloat16_is_taken_from_ampere_on(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert device.choose_dtype("auto", "cuda") == dtype


def test_a_cpu_computes_in_float32_unless_told_otherwise():
    assert device.choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert device.choose_dtype("bfloat16", "cpu") == torch.bfloat16


def test_an_unknown_dtype_is_refused():
    with pytest.raises(Refusal, match=r"dtype must be one of auto, float32, bfloat16, float16, got 'float8'\. Did you"):
        device.choose_dtype("float8", "cpu")


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "0", None])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(Refusal, match=r"seed must be a whole number from 0 to 2\*\*32 - 1, got .*Take 0\."):
        device.seed_everything(seed)


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1)), float(torch.randn(1))


def test_the_same_seed_draws_the_same_numbers():
    device.seed_everything(3)
    first = draw()
    device.seed_everything(3)
    assert draw() == first


def test_a_restored_state_draws_the_same_numbers():
    random.gauss(0, 1), np.random.randn()  # leaves half a pair of normal numbers in both
    state = device.rng_state()
    first = draw(), random.gauss(0, 1), np.random.randn()
    device.restore_rng_(state)
    assert (draw(), random.gauss(0, 1), np.random.randn()) == first


def test_the_peak_is_what_the_system_says():
    resident_gib = psutil.Process().memory_info().rss / 2**30
    assert device.peak_gib() >= resident_gib * 0.99  # resident memory may shrink a little between the two readings
    assert device.peak_gib() < psutil.virtual_memory().total / 2**30


def test_a_big_allocation_raises_the_peak_and_stays_in_it():
    code = ("from ftkit.device import resident_peak_gib as p; a = p(); b = bytearray(2**28); "
            "b[::4096] = b'x' * 65536; del b; print(p() - a)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": "src", "PATH": ""})
    assert 0.2 < float(run.stdout) < 0.3  # a quarter GiB


def test_a_system_without_proc_still_has_a_peak(monkeypatch):
    def missing(self):
        raise FileNotFoundError
    with_proc = device.resident_peak_gib()
    monkeypatch.setattr("pathlib.Path.read_bytes", missing)
    assert device.resident_peak_gib() >= with_proc * 0.9  # getrusage may also count the parent's peak: never less


def test_hardware_says_what_matters_for_speed_and_not_whose_it_is():
    import getpass
    import socket

    found = device.hardware()
    assert set(found) == {"cpu", "cores", "matmul_precision", "memory_gib", "gpu", "platform"}
    assert found["cores"] >= 1 and found["memory_gib"] > 0.1 and found["cpu"]
    words = " ".join(map(str, found.values())).split()
    assert socket.gethostname() not in words and getpass.getuser() not in words


def test_the_thread_count_is_torchs():
    assert device.thread_count() == torch.get_num_threads()
