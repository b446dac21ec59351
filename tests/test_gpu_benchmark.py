"""The GPU benchmark on small shapes and a CPU: every row is measured or says why not, and is written at once."""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

import pytest
import torch

from ftkit import compiled

FOLDER = Path(__file__).parents[1] / "benchmarks"
MODULES = ("gpu_7b", "gpu_arms", "random_models", "results")


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # the compiler itself is tried in test_compiled
    found = importlib.import_module("gpu_7b")
    monkeypatch.setattr(found.results, "FOLDER", tmp_path)
    yield found
    for name in MODULES:
        sys.modules.pop(name)


GIVEN = argparse.Namespace(step_tokens=512, steps=1, least_s=0)


@pytest.mark.parametrize("library", ["ftkit", "bitsandbytes"])
def test_our_best_and_the_usual_stack_are_measured_and_the_model_is_left_bare(benchmark, library, tmp_path):
    model = benchmark.build("tiny qwen2", library, "cpu", 2)
    report = benchmark.Report("try", {"weights": "random"})
    for arm in benchmark.gpu_arms.headline(128)[1::3]:
        report.add(benchmark.row_of(model, benchmark.QWEN, arm, library, 1e12, GIVEN, 60.0))
        assert not any(parameter.requires_grad for parameter in model.parameters())
    ours, usual = json.loads((tmp_path / "try.json").read_text("utf-8"))["rows"]
    assert ours["status"] == "measured" and ours["tokens_per_s"] > 0 and ours["matmul_share"] > 0
    assert ours["loss"][-1] < ours["loss"][0] and ours["grad_norm"][0] > 0
    assert usual["status"] == "measured" and usual["loss"][-1] < usual["loss"][0]
    assert usual["loss"][0] == pytest.approx(ours["loss"][0], rel=0.1)  # other rows of the same kind
    assert usual["stack"] == (benchmark.USUAL if library == "bitsandbytes" else benchmark.STAND_IN)


def test_all_changes_agree_on_loss_and_gradient(benchmark):
    model = benchmark.build("tiny llama", "ftkit", "cpu", 2)
    rows = [benchmark.row_of(model, benchmark.LLAMA, arm, "ftkit", 1e12, GIVEN, 60.0)
            for arm in benchmark.gpu_arms.agreeing()]
    assert {row["status"] for row in rows} == {"measured"}
    for row in rows[1:]:  # bfloat16 has three figures; the loss averages over 256 tokens, the norm does not
        assert row["loss"] == pytest.approx(rows[0]["loss"], rel=1e-3), row["arm"]
        assert row["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=3e-2), row["arm"]


def test_a_row_that_fails_costs_no_other(benchmark, monkeypatch):
    model, arm = benchmark.build("tiny llama", "ftkit", "cpu", 1), benchmark.gpu_arms.headline(128)[0]
    planted = iter([torch.OutOfMemoryError("planted"), ValueError("planted\nmore")])

    def fail(*_):
        error = next(planted, None)
        if error is None:
            time.sleep(5)
        raise error

    monkeypatch.setattr(benchmark.gpu_arms, "measure", fail)
    words = [benchmark.row_of(model, benchmark.LLAMA, arm, "ftkit", 1e12, given, 0.2)["status"]
             for given in (GIVEN, GIVEN, GIVEN, argparse.Namespace(least_s=1))]
    assert words == ["not measured: out of memory", "not measured: ValueError: planted",
                     "not measured: took longer than 0 s", "not measured: no time left"]
    assert not benchmark.gpu_arms.lora_layers(model)


def test_random_models_have_the_shapes_they_are_named_for(benchmark):
    models = sys.modules["random_models"]
    config = models.config_of("Qwen2.5-7B")
    linear = config.num_hidden_layers * (2 * 3584 * (3584 + 512) + 3 * 3584 * 18_944)
    norms_and_biases = 28 * (2 * 3584 + 3584 + 2 * 512) + 3584
    assert linear + 2 * 152_064 * 3584 + norms_and_biases == 7_615_616_512  # as published for Qwen2.5-7B
    flops = models.product_flops(config, tokens=1, head_positions=1, passes=1)
    assert flops == 2 * linear + 4 * 152_064 * 3584


def test_goals_are_reached_missed_or_not_measured(benchmark):
    def row(model, arm, stack="ftkit", **found):
        return {"model": model, "group": "headline", "arm": arm, "stack": stack, "status": "measured", **found}

    rows = [row(benchmark.QWEN, "all layers computed again", tokens_per_s=12_000.0),
            row(benchmark.QWEN, "as documented", benchmark.USUAL, tokens_per_s=6_000.0),
            row(benchmark.LLAMA, "one row of 512 tokens", peak_allocated_gib=5.5),
            row(benchmark.LLAMA, "none computed again", tokens_per_s=1.0) | {"status": "not measured: out of memory"}]
    found = {one["goal"]: (one["measured"], one["reached"]) for one in benchmark.goals(rows)}
    assert found["peak of Llama-2-7B, one row of 512 tokens, GiB"] == (5.5, False)
    assert found["tokens/s of Qwen2.5-7B, all layers computed again"] == (12_000.0, True)
    assert found["times the usual stack's tokens/s, Qwen2.5-7B"] == (2.0, True)
    assert found["tokens/s of Llama-2-7B, none computed again"] == (None, None)


def test_models_of_an_older_transformers_get_the_newer_names(benchmark):
    class Older:
        is_gradient_checkpointing = property(lambda self: self.given is not None)
        given = None

        def __init__(self):
            self.model = argparse.Namespace(layers=[argparse.Namespace() for _ in range(3)])

        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs):
            self.given = gradient_checkpointing_kwargs

        def gradient_checkpointing_disable(self):
            self.given = None

    sys.modules["random_models"].rename_(Older)
    model = Older()
    model.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=2)
    assert model.given == {"use_reentrant": False} and model.is_activation_checkpointing
    assert [layer.gradient_checkpointing for layer in model.model.layers] == [True, False, True]
    model.activation_checkpointing_disable()
    assert not model.is_activation_checkpointing
