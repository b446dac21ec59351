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


GIVEN = argparse.Namespace(step_tokens=512, steps=1, least_s=0, compiles=True)


def held(model):
    return {name: (type(module).__name__, [one.dtype for one in module.parameters(recurse=False)])
            for name, module in model.named_modules()}


@pytest.mark.parametrize("library", ["ftkit", "bitsandbytes"])
def test_our_best_and_the_usual_stack_are_measured_and_the_model_is_left_bare(benchmark, library, tmp_path):
    model = benchmark.build("tiny qwen2", library, "cpu", 2)
    report, before = benchmark.Report("try", {"weights": "random"}), held(model)
    for arm in benchmark.gpu_arms.headline(128)[1:5:3]:
        for row in benchmark.rows_of(model, benchmark.QWEN, arm, library, 1e12, GIVEN, time.perf_counter() + 60):
            report.add(row)
        assert not any(parameter.requires_grad for parameter in model.parameters()) and held(model) == before
    ours, usual = json.loads((tmp_path / "try.json").read_text("utf-8"))["rows"]
    assert ours["status"] == "measured" and ours["tokens_per_s"] > 0 and ours["matmul_share"] > 0
    assert ours["loss"][-1] < ours["loss"][0] and ours["grad_norm"][0] > 0
    assert usual["status"] == "measured" and usual["loss"][-1] < usual["loss"][0]
    assert usual["loss"][0] == pytest.approx(ours["loss"][0], rel=0.1)  # other rows of the same kind
    assert usual["stack"] == (benchmark.USUAL if library == "bitsandbytes" else benchmark.STAND_IN)


def test_all_changes_agree_on_loss_and_gradient(benchmark):
    model = benchmark.build("tiny llama", "ftkit", "cpu", 2)
    rows = [benchmark.row_of(model, benchmark.LLAMA, arm, 1e12, GIVEN, 60.0)
            for arm in benchmark.gpu_arms.agreeing()]
    assert {row["status"] for row in rows} == {"measured"}
    for row in rows[1:]:  # bfloat16 has three figures; the loss averages over 256 tokens, the norm does not
        assert row["loss"] == pytest.approx(rows[0]["loss"], rel=1e-3), row["arm"]
        assert row["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=3e-2), row["arm"]


def test_a_row_that_fails_costs_no_other(benchmark, monkeypatch):
    model, arm = benchmark.build("tiny llama", "ftkit", "cpu", 1), benchmark.gpu_arms.headline(128)[0]
    refused = ValueError("memory at step 1")
    refused.__cause__ = torch.OutOfMemoryError("planted")
    planted = iter([torch.OutOfMemoryError("planted"), refused, ValueError("planted\nmore")])

    def fail(*_):
        error = next(planted, None)
        if error is None:
            time.sleep(5)
        raise error

    monkeypatch.setattr(benchmark.gpu_arms, "measure", fail)
    words = [benchmark.row_of(model, benchmark.LLAMA, arm, 1e12, given, 0.2)["status"]
             for given in (GIVEN, GIVEN, GIVEN, GIVEN, argparse.Namespace(least_s=1))]
    assert words == ["not measured: out of memory", "not measured: out of memory", "not measured: ValueError: planted",
                     "not measured: took longer than 0 s", "not measured: no time left"]
    assert not benchmark.gpu_arms.lora_layers(model)


def test_where_the_compiler_fails_a_training_is_measured_without_it(benchmark, monkeypatch):
    def measured(model, arm, *_):
        if arm.settings.get("compiled"):
            raise RuntimeError("no compiler")
        return {"tokens_per_s": 10_000.0}

    monkeypatch.setattr(benchmark.gpu_arms, "measure", measured)
    given, found = argparse.Namespace(**vars(GIVEN)), []
    for arm in benchmark.gpu_arms.headline(128)[1:3]:
        found += benchmark.rows_of(None, benchmark.QWEN, arm, "bitsandbytes", 1e12, given, time.perf_counter() + 60)
    assert [(row["arm"], row["status"]) for row in found] == [
        ("all layers computed again", "not measured: RuntimeError: no compiler"),
        ("all layers computed again, not compiled", "measured"),
        ("none computed again, not compiled", "measured")]  # the compiler is not tried a second time
    reached = {one["goal"]: one["reached"] for one in benchmark.goals(found)}
    assert reached["tokens/s of Qwen2.5-7B, all layers computed again"] is True


def test_a_model_that_cannot_be_built_costs_its_own_rows_alone(benchmark, monkeypatch, tmp_path):
    def build(shape, *_):
        if "qwen" in shape:
            raise RuntimeError("planted")
        return argparse.Namespace(config=argparse.Namespace(num_hidden_layers=1))

    def taken(model, *_):
        return None

    monkeypatch.setattr(benchmark, "build", build)
    monkeypatch.setattr(benchmark.gpu_arms, "cleaned_", taken)
    monkeypatch.setattr(benchmark.gpu_arms, "measure", lambda *_: {"tokens_per_s": 1.0})
    given = argparse.Namespace(**vars(GIVEN), tiny=True, groups=["headline"], memory_tokens=128, device="cpu")
    report = benchmark.Report("try", {})
    benchmark.measure(report, given, "ftkit", 1e12, time.perf_counter() + 60)
    found = {row["model"]: row["status"] for row in report.rows}
    assert found == {"tiny qwen2": "not measured: the model could not be built: RuntimeError: planted",
                     "tiny llama": "measured"}


def test_trl_is_measured_with_the_model_left_bare_or_said_to_be_missing(benchmark, monkeypatch):
    model = benchmark.build("tiny llama", "bitsandbytes", "cpu", 1)
    arm, before = next(one for one in benchmark.gpu_arms.headline(128) if one.stack == benchmark.TRL), held(model)
    row = benchmark.row_of(model, benchmark.LLAMA, arm, 1e12, GIVEN, 60.0)
    assert row["status"] == "measured" and row["loss"][-1] < row["loss"][0] and row["tokens_per_s"] > 0
    assert held(model) == before
    monkeypatch.setattr(benchmark, "versions", lambda: {"torch": "2"})
    row = benchmark.row_of(model, benchmark.LLAMA, arm, 1e12, GIVEN, 60.0)
    assert row["status"] == "not measured: trl and datasets are not both installed"


def test_a_library_whose_layers_do_not_compute_is_told_by_a_small_one(benchmark, monkeypatch, capsys):
    models = sys.modules["random_models"]
    assert models.works("ftkit", "cpu") and models.works("bitsandbytes", "cpu")
    monkeypatch.setattr(models, "_quantised", lambda *_: 1 / 0)
    assert not models.works("bitsandbytes", "cpu")
    assert capsys.readouterr().out == "bitsandbytes: ZeroDivisionError: division by zero\n"


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
            row(benchmark.QWEN, "as documented", benchmark.TRL, tokens_per_s=8_000.0),
            row(benchmark.LLAMA, "one row of 512 tokens", peak_allocated_gib=5.5),
            row(benchmark.LLAMA, "none computed again", tokens_per_s=1.0) | {"status": "not measured: out of memory"}]
    found = {one["goal"]: (one["measured"], one["reached"]) for one in benchmark.goals(rows)}
    assert found["peak of Llama-2-7B, one row of 512 tokens, GiB"] == (5.5, False)
    assert found["tokens/s of Qwen2.5-7B, all layers computed again"] == (12_000.0, True)
    assert found["times the usual stack's tokens/s, Qwen2.5-7B"] == (1.5, True)  # the faster of two
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
