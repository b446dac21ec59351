"""The benchmark of a 7B, on a small one: built in shards, gone on with after a stop, loaded, trained, reported."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from ftkit import checkpoints, footprint
from ftkit.errors import Refusal

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bench_7b.py"
SMALL = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
         "num_key_value_heads": 2}


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_7b", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "QWEN", module.QWEN | SMALL)
    return module


def test_the_shapes_are_those_of_qwen2_5_7b(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_7b", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shards = module.shards_of(module.QWEN)
    assert sum(map(module.count, shards)) == 7_615_616_512  # as its model card counts them
    assert max(map(module.count, shards)) == 152_064 * 3584  # no more than the embeddings are in memory at once


def test_a_build_that_was_stopped_goes_on_and_leaves_no_half_shard(bench, tmp_path, monkeypatch):
    written, write = [], bench.write_shard

    def stopped(path, shapes, seed):
        written.append(path.name)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(path, shapes, seed)

    monkeypatch.setattr(bench, "write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.build(tmp_path / "model", 2)
    folder = bench.build(tmp_path / "model", 2)
    assert len(written) == 3 + 3 and len(set(written)) == 5  # two layers, embeddings, last norm, head; one tried twice
    assert not list(folder.glob(".*"))
    assert {one.kind for one in checkpoints.tensors(folder).values()} == {"BF16"}


def test_too_little_disk_is_refused_before_anything_is_written(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(footprint.shutil, "disk_usage", lambda place: type("usage", (), {"free": 1000}))
    with pytest.raises(Refusal, match="free disk space for model must be .* or more for the shards that are not"):
        bench.build(tmp_path / "model", 1)
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="anonymous memory is read from Linux' /proc")
def test_every_step_lowers_the_loss_on_its_row_and_memory_time_and_sizes_are_reported(bench, tmp_path, monkeypatch):
    folder = bench.build(tmp_path / "model", 1)
    pieces = list(bench.measure(folder, steps=3, tokens=96, threads=1))
    losses = [piece["step"]["loss"] for piece in pieces if "step" in piece]
    assert losses[0] == pytest.approx(math.log(4096), rel=0.1)  # random weights: hardly better than chance
    assert losses[0] > losses[1] > losses[2]
    assert pieces[0]["embedding_dtype"] == "bfloat16"
    assert 0 < pieces[0]["after_loading"]["peak_anonymous_gib"] <= pieces[-1]["peak_anonymous_gib"]
    assert pieces[-1]["adapter_mb"] == pytest.approx(4 * pieces[1]["trainable"] / 1e6, rel=0.1)  # float32, and headers
    json.dumps(pieces)


def test_the_command_says_what_it_takes():
    said = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert "random weights in the shape of Qwen2.5-7B" in said and "--keep" in said
