"""Adapters trained together, beside the same trainings one after the other, and beside peft."""

import importlib.util
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit import trials
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_, lora_layers, remove_lora_
from ftkit.lora.config import LoraConfig
from ftkit.sweep.fused import Fused
from ftkit.sweep.members import Member, member_of
from ftkit.sweep.side_by_side import Rows, grouped, open_paths
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

SHAPE = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}
TIMES = ("member", "tokens_per_s", "peak_gib", "elapsed_s")
CONFIG = TrainConfig(learning_rate=1e-2, max_steps=7, batch_size=4, eval_every=3, matmul_precision="highest")
# float32 keeps 7 digits; sums over more rows are rounded in another order, and 7 steps carry that on
CLOSE = {"rel": 1e-4, "abs": 1e-6}


def model_of(seed=0, **changes):
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE | changes))


def examples_of(count, seed=0):
    generator, examples = random.Random(seed), []
    for _ in range(count):
        ids = [generator.randrange(32) for _ in range(4 + generator.randrange(12))]
        silent = generator.randrange(1, len(ids))
        examples.append((ids, [-100] * silent + ids[silent:]))
    return examples


EXAMPLES, HELD_OUT = examples_of(22), examples_of(6, seed=1)


def member(rank=2, config=CONFIG, seed=0, examples=EXAMPLES, held_out=HELD_OUT, **lora):
    return Member(LoraConfig(rank=rank, **lora), config, examples, held_out, seed)


MEMBERS = {
    "alike": [member(), member(seed=1), member(config=replace(CONFIG, learning_rate=3e-3))],
    "ranks": [member(1), member(8, alpha=4), member(3, use_rslora=True)],
    "dropout": [member(dropout=0.3), member(), member(dropout=0.1, config=replace(CONFIG, seed=3))],
    "targets": [member(target_modules=("q_proj", "v_proj")), member(layers="last 1"),
                member(4, target_modules="down_proj"), member(rank_pattern={"down_proj": 5})],
    "batches": [member(config=replace(CONFIG, batch_size=3, schedule="cosine", warmup_steps=2)),
                member(config=replace(CONFIG, batch_size=6, max_grad_norm=None, weight_decay=0.1)),
                member(examples=examples_of(9, seed=5), held_out=None)],
    "lengths": [member(config=replace(CONFIG, max_steps=2)), member(),
                member(config=replace(CONFIG, max_steps=None, epochs=1, eval_every="epoch"))],
    "accumulation": [member(config=replace(CONFIG, accumulation=2, batch_size=2)), member(), member(config=replace(
        CONFIG, optimizer="lion", learning_rate=1e-3, accumulation=3, batch_size=2))],
    "one": [member(dropout=0.2)],
}


def alone(one):
    model = add_lora_(model_of(), one.lora, one.seed)
    records = list(train(model, one.examples, one.train, held_out=one.held_out))
    return records, {path: (layer.lora_A.detach(), layer.lora_B.detach()) for path, layer in lora_layers(model).items()}


def together(members):
    training = Fused(model_of(), members)
    records = list(training.records())
    return training, [[one for one in records if one["member"] == number] for number in range(len(members))]


def factors_of(training, number):
    layers = lora_layers(training.put_in_(number))
    remove_lora_(training.model)
    return {path: (layer.lora_A.detach(), layer.lora_B.detach()) for path, layer in layers.items()}


@pytest.mark.parametrize("kind", MEMBERS)
def test_each_member_is_trained_as_if_it_were_alone(kind):
    training, together_records = together(MEMBERS[kind])
    assert not training.failed
    for number, one in enumerate(MEMBERS[kind]):
        expected, factors = alone(one)
        assert len(together_records[number]) == len(expected)
        for ours, theirs in zip(together_records[number], expected, strict=True):
            assert {name: value for name, value in ours.items() if name not in TIMES} == {
                name: value if value is None else pytest.approx(value, **CLOSE)
                for name, value in theirs.items() if name not in TIMES}
        for path, pair in factors_of(training, number).items():
            for ours, theirs in zip(pair, factors[path], strict=True):
                # Adam divides a gradient by its own size: where it is rounding alone, a weight moves by its sign
                assert torch.isclose(ours, theirs, rtol=1e-3, atol=1e-5).float().mean() > 0.99
                assert (ours - theirs).norm() <= 1e-2 * theirs.norm()


def test_ranks_filled_up_with_zeros_change_nothing_and_stay_zeros(monkeypatch):
    monkeypatch.setattr("ftkit.sweep.fused.grouped", lambda adapters, device, pad: grouped(adapters, device, pad=True))
    members = [*MEMBERS["ranks"], member(2, dropout=0.2)]
    training, records = together(members)
    assert len({id(group) for group in training._group_of.values()}) == 1
    for number, one in enumerate(members):
        assert [record["loss"] for record in records[number]] == pytest.approx(
            [record["loss"] for record in alone(one)[0]], **CLOSE)
        numbers = training._group_of[number].parameters[number]
        used = sum(factor.numel() for pair in factors_of(training, number).values() for factor in pair)
        assert int((numbers != 0).sum()) <= used < len(numbers) or one.lora.rank == 8


def test_bfloat16_bases_keep_float32_adapters():
    members = [member(), member(4, seed=1)]
    training = Fused(model_of().bfloat16(), members)
    losses = [record["loss"] for record in training.records() if record["member"] == 1]
    one = members[1]
    model = add_lora_(model_of().bfloat16(), one.lora, one.seed)
    expected = [record["loss"] for record in train(model, one.examples, one.train)]
    assert losses == pytest.approx(expected, rel=0.02)  # bfloat16 keeps 3 digits
    assert factors_of(training, 1).popitem()[1][0].dtype == torch.float32


def test_a_member_that_diverges_leaves_alone():
    wild = member(config=replace(CONFIG, learning_rate=1e30, max_grad_norm=None))
    training, records = together([member(), wild, member(4)])
    assert list(training.failed) == [1]
    assert "must be finite" in training.failed[1] and "Try a lower learning_rate (now 1e+30" in training.failed[1]
    assert len(records[1]) < 7
    for number, one in ((0, member()), (2, member(4))):
        assert [record["loss"] for record in records[number]] == pytest.approx(
            [record["loss"] for record in alone(one)[0]], **CLOSE)


def test_the_model_is_untouched_between_steps_and_afterwards():
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = torch.arange(8)[None]
    model.eval()
    expected = model(ids).logits
    training = Fused(model, [member(), member(4)])
    records = training.records()
    next(records)
    assert torch.equal(model.eval()(ids).logits, expected)
    for _ in records:
        pass
    assert torch.equal(model(ids).logits, expected) and not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(one.requires_grad for one in model.parameters()) and not any(
        one._forward_hooks for one in model.modules())


def test_a_training_that_was_left_goes_on_with_the_next_step():
    training = Fused(model_of(), [member(dropout=0.2)])
    first = [next(records) for records in [training.records()] for _ in range(3)]
    losses = [record["loss"] for record in [*first, *training.records()]]
    assert losses == [record["loss"] for record in together([member(dropout=0.2)])[1][0]]
    assert list(training.records()) == []


def test_whoever_draws_random_numbers_meanwhile_gets_the_same_ones():
    torch.manual_seed(7)
    expected = torch.rand(3)
    training = Fused(model_of(), [member(dropout=0.5)])
    torch.manual_seed(7)
    for _ in training.records():
        pass
    assert torch.equal(torch.rand(3), expected)


def test_each_adapter_is_saved_in_the_layout_that_peft_reads(tmp_path):
    training, _ = together([member(target_modules=("q_proj", "v_proj")), member(4, alpha=8)])
    ids = torch.arange(8)[None]
    for number in (0, 1):
        folder = training.save(number, tmp_path / str(number), "tiny")
        ours = training.put_in_(number).eval()(ids).logits
        remove_lora_(training.model)
        theirs = PeftModel.from_pretrained(model_of(), folder).eval()(ids).logits
        assert torch.allclose(ours, theirs, atol=1e-6)  # rounding of one forward pass
        assert not torch.allclose(ours, training.model(ids).logits, atol=1e-3)


def test_a_trial_becomes_a_member_that_trains_the_same(monkeypatch):
    shared = trials.Material(None, EXAMPLES, HELD_OUT, (), ())
    for place in ("ftkit.trials.material", "ftkit.sweep.members.material"):
        monkeypatch.setattr(place, lambda *_: shared)
    monkeypatch.setattr(trials.Material, "pad_id", 0)
    monkeypatch.setattr(trials, "load_model", lambda *_, **__: (model_of(), None))
    trial = trials.Trial(settings={"rank": 2, "dropout": 0.1}, max_steps=4, batch_size=4, records=12, seed=5)
    expected = list(trials.begin(trial).records())
    other = member(config=replace(CONFIG, matmul_precision="auto"))
    training = Fused(model_of(), [member_of(trial, model_of()), other])
    ours = [record for record in training.records() if record["member"] == 0]
    assert [one["learning_rate"] for one in ours] == [one["learning_rate"] for one in expected]
    # the embedded base's CPU may multiply in bfloat16 by default, which keeps 3 digits
    assert [one["loss"] for one in ours] == pytest.approx([one["loss"] for one in expected], rel=1e-2)


def test_a_module_that_sees_other_tokens_than_the_batch_is_refused():
    model = model_of()
    training = Fused(model, [member()])
    with open_paths({"lm_head": model.lm_head}, training._groups, [Rows(0, 2, 3)], 3):
        model.lm_head(torch.zeros(1, 2, 16))  # has no adapter: passed by
    path, module = next(iter(training._modules.items()))
    with open_paths({path: module}, training._groups, [Rows(0, 2, 3)], 3), pytest.raises(
            Refusal, match=r"each of the batch's 6 tokens once, got \(1, 2, 16\). Take its name out of target_modules"):
        module(torch.zeros(1, 2, 16))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Fused(model_of(), []), r"members must be one or more, got \[\]"),
    (lambda: Fused(model_of(), [member(), member(config=replace(CONFIG, matmul_precision="medium"))]),
     "matmul_precision must be the same for all fused members, got .'highest', 'medium'."),
    (lambda: Fused(model_of(attention_dropout=0.1), [member()]), "model must be one without dropout of its own"),
    (lambda: Fused(model_of(tie_word_embeddings=False), [member(target_modules=("embed_tokens",))]),
     "target_modules must be linear modules among fused members, got 'model.embed_tokens'"),
    (lambda: Fused(model_of(), [member()]).put_in_(3), "member must be one of 0, got 3"),
    (lambda: Fused(model_of(), [member()]).save(3, "x", "tiny"), "member must be one of 0, got 3"),
    (lambda: member(config=replace(CONFIG, precision="bf16")),
     "precision must be 'no' among fused members, got 'bf16'"),
    (lambda: member(config=replace(CONFIG, patience=2)), "patience must be None among fused members, got 2"),
    (lambda: member(config=replace(CONFIG, activation_checkpointing=True)),
     "activation_checkpointing must be False among fused members, got True. Train it alone."),
    (lambda: member(config=replace(CONFIG, grouping="packed", seq_len=32)), "got 'packed'. Take 'buckets'"),
    (lambda: member(modules_to_save=("lm_head",)), "modules_to_save must be .. among fused members"),
    (lambda: member_of(trials.Trial(method="full"), None), "method must be 'lora' for a fused member, got 'full'"),
])
def test_what_cannot_be_done_side_by_side_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_an_adapter_left_in_the_model_is_refused_at_the_next_step():
    training = Fused(model_of(), [member()])
    records = training.records()
    next(records)
    training.put_in_(0)
    with pytest.raises(Refusal, match="Take it out with remove_lora_ before the next step"):
        next(records)
    assert math.isfinite(training._elapsed_s)


def test_the_benchmark_measures_every_arm_and_fits_the_law(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "fused.py"
    monkeypatch.syspath_prepend(str(script.parent))  # where its results.py is
    spec = importlib.util.spec_from_file_location("fused_benchmark", script)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    shape = benchmark.QWEN_05B | SHAPE
    model = benchmark.random_model(shape, "cpu", torch.bfloat16)
    (rows,) = benchmark.measure(model, benchmark.random_rows(4, 32, width=16), [1, 2], [1, 2], steps=5, repeats=1)
    assert [(row["rows"], row["members"], row["tokens"]) for row in rows] == [
        (1, 0, 16), (1, 1, 16), (1, 2, 16), (2, 0, 32), (2, 1, 32), (2, 2, 32)]
    written = {}
    monkeypatch.setitem(sys.modules, "results", type("R", (), {"write": lambda name, found: written.update(found)}))
    made_up = [{"rows": 1, "members": 0, "tokens": 100.0, "step_s": 0.3, "peak_gib": 1.0},
               {"rows": 2, "members": 0, "tokens": 200.0, "step_s": 0.4, "peak_gib": 1.0},
               {"rows": 1, "members": 4, "tokens": 100.0, "step_s": 0.6, "peak_gib": 1.0},
               {"rows": 2, "members": 4, "tokens": 200.0, "step_s": None, "peak_gib": None}]
    benchmark.report("try", made_up, {})
    assert written["t0_tokens"] == pytest.approx(200) and written["per_token_s"] == pytest.approx(1e-3)
    assert [(row["faster"], row["law"]) for row in written["table"]] == [(pytest.approx(2), pytest.approx(2))]
    assert "t0 = 200 tokens" in capsys.readouterr().out
