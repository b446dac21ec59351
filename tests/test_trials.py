import json
import math

import pytest
import torch

from ftkit import methods, trials
from ftkit.errors import Refusal
from ftkit.material import material
from ftkit.quantization import kind_of
from ftkit.runs import read_card, read_trace
from ftkit.trials import Trial, begin, run_trial

SHORT = {"max_steps": 4, "batch_size": 2, "records": 20}


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    whole = trials.material()
    monkeypatch.setattr(trials, "material", lambda *_: trials.Material(
        whole.tokenizer, whole.examples, whole.held_out[:4], whole.asked[:4], whole.files))


def test_a_trial_is_a_run_with_a_card_a_trace_and_its_scores(tmp_path):
    metrics = run_trial(str(tmp_path / "run"), rank=2, alpha=4, seed=3, **SHORT)
    card = read_card(tmp_path / "run")
    assert card.status == "done" and card.seed == 3 and card.metrics == metrics
    assert card.parameters["settings"]["rank"] == 2 and card.parameters["learning_rate"] == 4e-3
    assert len(read_trace(tmp_path / "run")) == 4
    assert [step for step, _ in metrics["curve"]] == [1, 2, 3, 4] and math.isfinite(metrics["held_out_loss"])
    assert metrics["held_out_loss"] == metrics["curve"][-1][1] and 0 <= metrics["clinic"] <= 1
    assert metrics["saved_bytes"] > 4 * metrics["trainable"] and metrics["peak_gib"] >= metrics["before_gib"]


def test_the_same_folder_again_costs_nothing_and_another_setting_is_refused(tmp_path, monkeypatch):
    first = run_trial(str(tmp_path), **SHORT)
    monkeypatch.setattr(trials, "train", None)
    assert run_trial(str(tmp_path), **SHORT) == first
    with pytest.raises(Refusal, match="a run with other parameters"):
        run_trial(str(tmp_path), rank=4, **SHORT)


def test_the_seed_decides_records_and_start_and_nothing_else_is_drawn():
    one, same, other = (run_trial(seed=seed, **SHORT)["held_out_loss"] for seed in (1, 1, 2))
    assert one == same != other


def test_a_trial_can_be_watched_step_by_step_and_left():
    begun = begin(Trial(max_steps=50, batch_size=2))
    assert next(begun.records())["step"] == 1
    assert begun.trace[0]["loss"] > 0 and begun.prepared.trainable == 233_472


def test_a_killed_trial_goes_on_to_the_same_figures(tmp_path):
    settings = SHORT | {"max_steps": 6}
    whole = run_trial(str(tmp_path / "whole"), **settings)
    trial = Trial(max_steps=6, batch_size=2, records=20)
    begun = begin(trial)
    with trials.open_run(tmp_path / "cut", trials.parameters_of(begun, "held_out"), name="trial", seed=0,
                         data=list(begun.material.files), model=trials.model_of(trial)) as run:
        for record in begun.records(run):
            if record["step"] == 3:
                break
    assert run_trial(str(tmp_path / "cut"), **settings)["held_out_loss"] == whole["held_out_loss"]


def test_records_of_ones_own_are_trained_on_and_asked_nothing_about_the_clinic(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(f'{{"instruction": "say {place}", "output": "number {place}"}}' for place in range(20)))
    metrics = run_trial(data=str(path), max_steps=2, batch_size=2)
    assert "clinic" not in metrics and math.isfinite(metrics["held_out_loss"])


@pytest.mark.parametrize(("wrong", "words"), [
    ({"records": -1}, "records must be a whole number, 0"),
    ({"score": "test"}, "score must be held_out or all or merged"),
    ({"quantization": "nf5"}, "quantization must be one of None, nf4"),
    ({"method": "lorra"}, "method"), ({"rnak": 4}, "rank"), ({"learning_rate": -1.0}, "learning_rate must be"),
    ({"max_steps": 0}, "max_steps must be")])
def test_what_is_out_of_range_is_refused_before_anything_is_trained(wrong, words):
    with pytest.raises(Refusal, match=words):
        run_trial(**wrong)


def test_every_seeded_method_gets_the_trials_seed():
    begun = begin(Trial(seed=5, max_steps=1))
    assert begun.prepared.settings["seed"] == 5 and methods.defaults("lora")["seed"] == 0


def test_cards_of_one_setting_differ_in_the_seed_alone():
    one, other = (trials.parameters_of(begin(Trial(seed=seed, max_steps=1)), "held_out") for seed in (1, 2))
    assert one == other and "seed" not in one["settings"]


def test_a_qlora_trial_loads_the_base_in_4_bits_by_itself():
    begun = begin(Trial("qlora", {"rank": 2}, max_steps=1, batch_size=2, records=4))
    assert [one["step"] for one in begun.records()] == [1]
    assert begun.prepared.model.model.layers[0].mlp.up_proj.base.weight.dtype == torch.uint8
    assert begun.metrics()["total"] == 4_333_248 + begun.prepared.trainable


@pytest.mark.parametrize(("method", "given", "kind"), [
    ("qlora", {}, "nf4"), ("qlora", {"quantization": "fp4"}, "fp4"), ("lora8bit", {}, "int8"),
    ("qlora", {"unquantised": ["mlp"], "double_quant": False}, "")])
def test_a_trial_stores_its_base_as_its_method_needs_it_or_as_it_says(method, given, kind):
    model = trials.load_base(Trial(method, **given))
    assert kind_of(model.model.layers[0].mlp.up_proj) == kind
    if "unquantised" in given:
        assert not model.model.layers[0].self_attn.q_proj.weight.quant_state.nested


def test_what_is_said_of_the_base_stands_in_a_card_where_it_is_not_the_default():
    one, other = (trials.parameters_of(begin(Trial("qlora", max_steps=1, **given)), "held_out")
                  for given in ({"unquantised": []}, {"quantization": "fp4", "unquantised": ["mlp"]}))
    assert not set(trials.ABOUT_THE_BASE) & set(one)
    assert {name: other[name] for name in other.keys() - one.keys()} == {"quantization": "fp4", "unquantised": ["mlp"]}


def test_an_adapter_is_scored_merged_in_each_way():
    metrics = run_trial(method="qlora", score="merged", **SHORT)
    assert metrics["dequantised loss"] == pytest.approx(metrics["held_out_loss"], abs=1e-3)  # the same function
    assert metrics["quantised difference"] > metrics["dequantised difference"] < 1e-2
    assert metrics["quantised bytes"] < metrics["original bytes"] == metrics["dequantised bytes"]
    assert all(0 <= metrics[f"{way} clinic"] <= 1 for way in ("quantised", "dequantised", "original"))


def test_records_that_were_mended_are_read_anew(tmp_path):
    file = tmp_path / "mine.jsonl"
    records = [{"instruction": f"What is {one}?", "output": f"It is {one}."} for one in range(20)]
    for many in (20, 12):  # as a learner who mends a file and runs the cell again
        file.write_text("\n".join(map(json.dumps, records[:many])), "utf-8")
        found = material(data=str(file))
        assert len(found.examples) + len(found.held_out) == many
    assert material(data=str(file)) is found  # and not more often than that
