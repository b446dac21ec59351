import copy
import itertools
import math
import os
import random
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CTRLConfig, CTRLLMHeadModel, Qwen2Config, Qwen2ForCausalLM

from ftkit import cpu
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_
from ftkit.lora.config import LoraConfig
from ftkit.runs import open_run, read_card, read_trace
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner, Randomness, frozen_of, hash_of
from ftkit.train.loop import FIELDS, train

TIMES = ("tokens_per_s", "peak_gib", "elapsed_s")
SHAPE = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}


def model_of(seed=0, lora=False, dropout=0.0, **changes):
    with Randomness(seed):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE | changes))
    return add_lora_(model, LoraConfig(rank=2, dropout=dropout), seed=0) if lora else model


def examples_of(count, seed=0, step=3):
    generator, examples = random.Random(seed), []
    for _ in range(count):
        ids = [generator.randrange(32)]
        while len(ids) < 4 + generator.randrange(12):
            ids.append((ids[-1] * 5 + step) % 32)
        silent = generator.randrange(1, len(ids))
        examples.append((ids, [-100] * silent + ids[silent:]))
    return examples


EXAMPLES, HELD_OUT = examples_of(20), examples_of(6, seed=1)
CONFIG = TrainConfig(learning_rate=1e-2, max_steps=12, batch_size=4)
EXACT = replace(CONFIG, matmul_precision="highest")  # where sums are compared with sums


def without_times(records):
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def opened(folder, config=CONFIG):
    return open_run(folder, asdict(config), name="try", seed=config.seed)


# What is learned


def by_hand(model, config, order):
    """The same training in twenty lines: plain logits, torch's own AdamW, one forward pass for all rows of a step."""
    decayed = [one for one in model.parameters() if one.dim() > 1]
    others = [one for one in model.parameters() if one.dim() == 1]
    adam = torch.optim.AdamW([{"params": decayed, "weight_decay": config.weight_decay},
                              {"params": others, "weight_decay": 0.0}], lr=config.learning_rate, fused=False)
    losses, norms = [], []
    for step, rows in enumerate(order):
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
        logits = model(input_ids=ids).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        adam.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)))
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.max_steps)
        adam.step()
        losses.append(loss.item())
    return losses, norms


def test_losses_are_those_of_a_loop_written_by_hand():
    config = replace(EXACT, batch_size=2, accumulation=2, grouping="sequential", weight_decay=0.1, max_grad_norm=0.5)
    ours, theirs = model_of(), model_of()
    records = list(train(ours, EXAMPLES, config))
    rows = [EXAMPLES[4 * step % 20 : 4 * step % 20 + 4] for step in range(12)]
    losses, norms = by_hand(theirs, config, rows)
    # the same numbers summed in another order (rows in two parts, fused Adam): float32 keeps 6e-8 of each sum, and
    # 12 small steps multiply such a difference by less than ten
    assert [record["loss"] for record in records] == pytest.approx(losses, rel=1e-6)
    assert [record["grad_norm"] for record in records] == pytest.approx(norms, rel=1e-5)  # a sum of squares: twice that
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        # Adam divides by the gradient's own size, so a weight with next to none may differ by part of a step of 1e-2
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_accumulation_is_a_bigger_batch():
    examples = sorted(EXAMPLES, key=lambda one: sum(label >= 0 for label in one[1]))  # few labels first, many last
    split, whole = model_of(), model_of()
    config = replace(EXACT, max_steps=5, grouping="sequential")
    apart = list(train(split, examples, replace(config, batch_size=1, accumulation=4)))
    together = list(train(whole, examples, config))
    # the same sums in another order, over five steps
    assert [record["loss"] for record in apart] == pytest.approx([record["loss"] for record in together], rel=1e-6)
    assert [record["grad_norm"] for record in apart] == pytest.approx([one["grad_norm"] for one in together], rel=1e-5)


def test_accumulation_weighs_tokens_and_not_micro_batches():
    few, many = ([1, 2, 3, 4, 5, 6], [-100] * 5 + [6]), ([7, 8, 9, 1, 2, 3], [-100] + [8, 9, 1, 2, 3])
    config = replace(EXACT, max_steps=1, batch_size=1, accumulation=2, grouping="sequential")
    record = next(train(model_of(), [few, many], config))
    alone = [next(train(model_of(), [one], replace(config, accumulation=1)))["loss"] for one in (few, many)]
    assert record["loss"] == pytest.approx((alone[0] + 5 * alone[1]) / 6, rel=1e-6)  # one token and five
    assert record["loss"] != pytest.approx((alone[0] + alone[1]) / 2, rel=1e-3)


def test_packed_rows_learn_what_padded_rows_learn():
    config = replace(EXACT, max_steps=3, batch_size=20, seq_len=32)
    padded = list(train(model_of(), EXAMPLES, replace(config, grouping="sequential")))
    packed = list(train(model_of(), EXAMPLES, replace(config, grouping="packed")))
    # attention sums over a row with masked places in between: another order of summing
    assert [one["loss"] for one in packed] == pytest.approx([one["loss"] for one in padded], rel=1e-5)
    assert packed[0]["real_tokens"] == padded[0]["real_tokens"] == sum(len(ids) for ids, _ in EXAMPLES)


def test_the_frozen_weights_stay_as_they_were_and_the_trained_ones_do_not():
    model = model_of(lora=True)
    frozen, trained = hash_of(frozen_of(model)), Learner(model, CONFIG).weights()
    records = list(train(model, EXAMPLES, replace(CONFIG, max_steps=40)))
    assert hash_of(frozen_of(model)) == frozen
    assert all(not torch.equal(one, trained[name]) for name, one in model.named_parameters() if one.requires_grad)
    assert records[-1]["loss"] < records[0]["loss"] - 0.1


def test_a_record_says_what_the_step_was():
    records = list(train(model_of(), EXAMPLES, replace(CONFIG, warmup_steps=2), held_out=HELD_OUT,
                         evaluate=lambda _: {"accuracy": np.float32(0.5)}))
    assert [record["step"] for record in records] == list(range(1, 13)) and records[-1]["epoch"] == 2
    assert set(records[0]) == set(FIELDS) and records[-1]["accuracy"] == 0.5
    assert [record["learning_rate"] for record in records[:3]] == [0.005, 0.01, 0.01]
    assert records[0]["held_out_loss"] is None and records[-1]["held_out_loss"] > 0
    assert all(record["tokens_per_s"] > 0 and record["peak_gib"] > 0 for record in records)
    assert [record["elapsed_s"] for record in records] == sorted(record["elapsed_s"] for record in records)


def test_the_held_out_loss_is_the_mean_over_all_label_tokens():
    model = model_of(lora=True, dropout=0.5)
    record = list(train(model, EXAMPLES, CONFIG, held_out=HELD_OUT))[-1]
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, labels in HELD_OUT:
            logits, targets = model.eval()(input_ids=torch.tensor([ids])).logits[0, :-1], torch.tensor(labels[1:])
            total += float(F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum"))
            count += int((targets >= 0).sum())
    assert record["held_out_loss"] == pytest.approx(total / count, rel=1e-5)  # batches: sums in another order


def test_evaluations_happen_when_they_are_due():
    seen = []
    list(train(model_of(), EXAMPLES, replace(CONFIG, eval_every=5), evaluate=lambda model: seen.append(model.training)
               or {}))
    assert len(seen) == 3  # after steps 5, 10 and the last


def test_without_a_limit_gradients_are_only_measured():
    clipped = list(train(model_of(), EXAMPLES, replace(CONFIG, max_grad_norm=1e-6, schedule="constant")))
    free = list(train(model_of(), EXAMPLES, replace(CONFIG, max_grad_norm=None, schedule="constant")))
    assert clipped[0]["grad_norm"] == free[0]["grad_norm"] > 0.1
    assert clipped[-1]["loss"] != free[-1]["loss"]


def test_activations_computed_again_give_the_same_losses_and_the_model_is_left_as_it_was():
    plain, again = model_of(lora=True, dropout=0.3), model_of(lora=True, dropout=0.3)
    again.eval()
    config = replace(CONFIG, activation_checkpointing=True)
    assert without_times(train(again, EXAMPLES, config)) == without_times(train(plain, EXAMPLES, CONFIG))
    assert not again.is_activation_checkpointing and not again.training


def test_a_program_may_end_with_a_training_half_way():
    code = ("import torch; from transformers import Qwen2Config, Qwen2ForCausalLM as Model\n"
            "from ftkit.train.config import TrainConfig; from ftkit.train.loop import train\n"
            f"model = Model(Qwen2Config(**{SHAPE})).eval()\n"
            "config = TrainConfig(1e-3, max_steps=3, activation_checkpointing=True)\n"
            "left = train(model, [([1, 2, 3], [1, 2, 3])], config); next(left)")
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": "src"})
    assert run.stderr == ""


def test_mixed_precision_keeps_its_weights_in_float32_and_changes_with_the_next_training():
    model = model_of(lora=True)
    mixed = list(train(model, EXAMPLES, replace(CONFIG, precision="bf16"), held_out=HELD_OUT))
    full = list(train(model_of(lora=True), EXAMPLES, CONFIG, held_out=HELD_OUT))
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert mixed[0]["loss"] != full[0]["loss"]
    # bfloat16 has 8 bits: 0.4 % of a logit of size 1, averaged over tokens
    assert mixed[0]["loss"] == pytest.approx(full[0]["loss"], rel=1e-2)
    assert mixed[-1]["held_out_loss"] == pytest.approx(full[-1]["held_out_loss"], rel=3e-2)


def test_products_in_bfloat16_learn_the_same_to_their_rounding():
    exact, rounded = ([one["loss"] for one in train(model_of(), EXAMPLES, replace(CONFIG, matmul_precision=precision))]
                      for precision in ("highest", "medium"))
    assert rounded == pytest.approx(exact, rel=1e-2)  # bfloat16 keeps three digits of a factor
    assert torch.get_float32_matmul_precision() == "highest"


def test_trainings_of_different_precision_may_take_turns():
    alone = [[one["loss"] for one in train(model_of(), EXAMPLES, replace(CONFIG, precision=precision))]
             for precision in ("no", "bf16")]
    one = train(model_of(), EXAMPLES, CONFIG)
    other = train(model_of(), EXAMPLES, replace(CONFIG, precision="bf16"))
    turns = list(zip(one, other, strict=True))
    assert [[pair[place]["loss"] for pair in turns] for place in (0, 1)] == alone


# Nobody who watches changes it


def test_whoever_watches_changes_nothing_and_is_not_changed():
    alone = without_times(train(model_of(lora=True, dropout=0.5), EXAMPLES, replace(CONFIG, eval_every=3)))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn, watched = [], []
    model = model_of(lora=True, dropout=0.5)
    for record in train(model, EXAMPLES, replace(CONFIG, eval_every=3), evaluate=lambda one: torch.rand(1) and {}):
        drawn.append((random.random(), np.random.rand(), float(torch.rand(1))))
        model.eval()
        watched.append(record)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert without_times(watched) == alone
    assert drawn == [(random.random(), np.random.rand(), float(torch.rand(1))) for _ in drawn]


def test_gradients_left_over_from_before_count_for_nothing():
    model = model_of()
    for one in model.parameters():
        one.grad = torch.ones_like(one)
    assert without_times(train(model, EXAMPLES, CONFIG)) == without_times(train(model_of(), EXAMPLES, CONFIG))


def test_a_seed_decides_order_and_dropout():
    runs = [without_times(train(model_of(lora=True, dropout=0.5), EXAMPLES, replace(CONFIG, seed=seed)))
            for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


# Early stopping


STOPPING = replace(CONFIG, max_steps=60, eval_every=2, patience=3)
STRANGE = examples_of(6, seed=2, step=8)  # another pattern: to learn the one is to unlearn the other


def test_training_stops_where_the_held_out_loss_no_longer_falls_and_goes_back_to_the_best(tmp_path):
    model = model_of()
    with opened(tmp_path, STOPPING) as run:
        records = list(train(model, EXAMPLES, STOPPING, held_out=STRANGE, run=run))
    losses = {record["step"]: record["held_out_loss"] for record in records if record["held_out_loss"] is not None}
    best = min(losses, key=losses.get)
    assert records[-1]["step"] == best + 2 * STOPPING.patience < 60
    card = read_card(tmp_path)
    assert card.metrics["stopped_early"] and card.metrics["best_step"] == best
    assert Learner(model, STOPPING).loss_on(_order(STRANGE)) == losses[best] == card.metrics["best_held_out_loss"]


def _order(examples):
    from ftkit.train.order import held_out_order

    return held_out_order(examples, STOPPING.batch_size, 0)


def test_a_gain_smaller_than_min_delta_is_none():
    records = list(train(model_of(), EXAMPLES, replace(STOPPING, min_delta=100.0), held_out=HELD_OUT))
    assert len(records) == 2 * (1 + STOPPING.patience)  # the first evaluation is the best so far, whatever it is


def test_early_stopping_is_the_same_after_a_restart(tmp_path):
    config = replace(STOPPING, checkpoint_every=1)
    whole = without_times(train(model_of(), EXAMPLES, config, held_out=STRANGE))
    resumed = []
    while len(resumed) < len(whole):  # five more steps each time, in a new model
        with opened(tmp_path, config) as run:
            resumed = list(itertools.islice(train(model_of(), EXAMPLES, config, held_out=STRANGE, run=run),
                                            len(resumed) + 5))
    assert without_times(resumed) == whole


# Stopped and started again


@pytest.mark.parametrize("lora, steps, same_model", [(True, 1, True), (True, 4, False), (True, 7, True),
                                                     (False, 4, True), (False, 7, False), (False, 12, False)])
def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path, lora, steps, same_model):
    config = replace(CONFIG, checkpoint_every=3, eval_every=5, accumulation=2, warmup_steps=3)
    given = {"lora": lora, "dropout": 0.5} if lora else {"attention_dropout": 0.3}
    settings = {"held_out": HELD_OUT, "evaluate": lambda _: {"drawn": random.random()}}
    whole, model = model_of(**given), model_of(**given)
    want = without_times(train(whole, EXAMPLES, config, **settings))
    with opened(tmp_path, config) as run:
        list(itertools.islice(train(model, EXAMPLES, config, run=run, **settings), steps))
    model = model if same_model else model_of(**given)
    with opened(tmp_path, config) as run:
        got = list(train(model, EXAMPLES, config, run=run, **settings))
    assert without_times(got) == want == without_times(read_trace(tmp_path))
    assert hash_of(dict(model.named_parameters())) == hash_of(dict(whole.named_parameters()))


def test_a_finished_training_yields_its_records_and_puts_its_weights_into_the_model(tmp_path):
    model, fresh = model_of(), model_of()
    with opened(tmp_path) as run:
        records = list(train(model, EXAMPLES, CONFIG, run=run))
        run.finish({"accuracy": 1.0})
    with opened(tmp_path) as run:
        assert list(train(fresh, EXAMPLES, CONFIG, run=run)) == records
    assert hash_of(dict(fresh.named_parameters())) == hash_of(dict(model.named_parameters()))
    card = read_card(tmp_path)
    assert card.status == "done" and card.metrics["weights_sha256"] == hash_of(dict(model.named_parameters()))
    assert list(train(model_of(), EXAMPLES, CONFIG, run=run)) == records  # even from a closed run: nothing is written


def test_a_training_killed_between_its_last_checkpoint_and_its_card_gets_its_metrics(tmp_path, monkeypatch):
    with opened(tmp_path) as run:
        monkeypatch.setattr(run, "note", lambda metrics: None)
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    with opened(tmp_path) as run:
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    assert read_card(tmp_path).metrics["steps"] == 12


def test_a_finished_training_is_read_with_any_number_of_threads_on_any_processor(tmp_path, monkeypatch):
    with opened(tmp_path) as run:
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    other = {"medium": "highest", "highest": "medium"}[cpu.matmul_precision()]
    monkeypatch.setattr(cpu, "matmul_precision", lambda: other)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with opened(tmp_path) as run:
            assert len(list(train(model_of(), EXAMPLES, CONFIG, run=run))) == 12
    finally:
        torch.set_num_threads(threads)


def stopped(folder, steps=5):
    config = replace(CONFIG, checkpoint_every=2)
    with opened(folder, config) as run:
        list(itertools.islice(train(model_of(lora=True), EXAMPLES, config, held_out=HELD_OUT, run=run), steps))
    return config


@pytest.mark.parametrize("model, examples, held_out, words", [
    (lambda: model_of(lora=True, seed=1), EXAMPLES, HELD_OUT, "another model: the frozen weights differ"),
    (lambda: model_of(), EXAMPLES, HELD_OUT, "one of another model"),
    (lambda: model_of(lora=True, intermediate_size=64), EXAMPLES, HELD_OUT, r"there and \[.*\] here"),
    (lambda: model_of(lora=True), EXAMPLES[1:], HELD_OUT, "made on these examples"),
    (lambda: model_of(lora=True), EXAMPLES, HELD_OUT[1:], "made with these held-out examples"),
    (lambda: model_of(lora=True), EXAMPLES, None, "made with these held-out examples"),
])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, model, examples, held_out, words):
    config = stopped(tmp_path)
    with opened(tmp_path, config) as run, pytest.raises(Refusal, match=words):
        list(train(model(), examples, config, held_out=held_out, run=run))


def test_other_settings_are_refused(tmp_path):
    config = stopped(tmp_path)
    with opened(tmp_path, config) as run, pytest.raises(Refusal, match=r"made with batch_size=8, got 4"):
        list(train(model_of(lora=True), EXAMPLES, replace(config, batch_size=8), held_out=HELD_OUT, run=run))


def test_another_number_of_threads_is_refused(tmp_path):
    config, threads = stopped(tmp_path), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with opened(tmp_path, config) as run, pytest.raises(Refusal, match=rf"torch threads must be {threads}, as"):
            list(train(model_of(lora=True), EXAMPLES, config, held_out=HELD_OUT, run=run))
    finally:
        torch.set_num_threads(threads)


def test_a_trace_with_missing_records_is_refused(tmp_path):
    config = stopped(tmp_path)
    lines = (tmp_path / "trace.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trace.jsonl").write_text("".join(lines[1:]))
    words = r"trace of run .* must be one record for each step up to 4, as its checkpoint, got '3 records'"
    with opened(tmp_path, config) as run, pytest.raises(Refusal, match=words):
        list(train(model_of(lora=True), EXAMPLES, config, held_out=HELD_OUT, run=run))


def test_frozen_layers_below_what_is_trained_are_not_computed_again():
    model, calls = model_of(), []
    model.model.layers[0].requires_grad_(False)
    model.model.embed_tokens.requires_grad_(False)
    model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(0))
    next(train(model, EXAMPLES, replace(CONFIG, activation_checkpointing=True)))
    assert calls == [0]


# What cannot be trained


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_the_folder_readable(tmp_path):
    config, model = replace(CONFIG, checkpoint_every=1, precision="bf16"), model_of()
    with opened(tmp_path, config) as run:
        steps = train(model, EXAMPLES, config, run=run)
        next(steps), next(steps)
        weights = copy.deepcopy(model.state_dict())
        broken = model.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: torch.full(_[-1].shape, math.nan))
        with pytest.raises(Refusal, match=r"loss at step 3 must be finite, got nan\. The weights are those before this "
                                          r"step\. Try a lower learning_rate \(now 0\.01\), a longer warm-up, or "
                                          r"precision='no' \(now 'bf16'\)\."):
            next(steps)
    broken.remove()
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
    card = read_card(tmp_path)
    assert card.status == "failed" and card.error.startswith("loss at step 3 must be finite")
    assert len(read_trace(tmp_path)) == 2
    with opened(tmp_path, config) as run:  # the cause is mended: it goes on
        assert len(list(train(model, EXAMPLES, config, run=run))) == 12


def test_a_gradient_that_is_not_finite_stops_the_training():
    model = model_of()
    model.model.layers[0].mlp.down_proj.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(Refusal, match=r"grad_norm at step 1 must be finite, got (nan|inf)\."):
        next(train(model, EXAMPLES, CONFIG))


def frozen():
    return model_of().requires_grad_(False)


class Bare(nn.Linear):
    pass


@pytest.mark.parametrize("model, changes, held_out, words", [
    (frozen, {}, None,
     r"model must be one with trainable weights, got 'all frozen'\. Prepare it with methods\.prepare\."),
    (model_of, {"precision": "fp16"}, None,
     r"precision must be 'no' or 'bf16' on a CPU, got 'fp16'\. fp16 needs a GPU\."),
    (lambda: model_of().half(), {"precision": "fp16"}, None,
     r"trainable weights must be float32 with precision='fp16', got '.* in float16'\. Load the model with dtype="),
    (lambda: Bare(2, 2), {"activation_checkpointing": True}, None,
     r"activation_checkpointing must be False for a Bare, got True\. Only models of transformers can do it, and not"),
    (lambda: CTRLLMHeadModel(CTRLConfig(vocab_size=8, n_embd=8, dff=8, n_layer=1, n_head=1)),
     {"activation_checkpointing": True}, None,
     r"activation_checkpointing must be False for a CTRLLMHeadModel, got True\. Only models of transformers can do it"),
    (model_of, {"patience": 1, "eval_every": 1}, None,
     r"held_out must be given together with patience, got None\. Split some examples off, or set patience=None\."),
    (model_of, {}, [], r"held-out examples must be at least one, got \[\]"),
])
def test_what_cannot_be_trained_is_refused_at_the_call(model, changes, held_out, words):
    with pytest.raises(Refusal, match=words):
        train(model(), EXAMPLES, replace(CONFIG, **changes), held_out=held_out)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(Refusal, match=r"WORLD_SIZE must be 1, got '2'\. Training is one process: start it as such\."):
        train(model_of(), EXAMPLES, CONFIG)


@pytest.mark.parametrize("returned, words", [
    (None, r"what evaluate returns must be a dict of results, got None\. Return for example \{'accuracy': 0\.9\}\."),
    ({"loss": 1.0}, r"a result of evaluate must be named unlike the record's own fields, got 'loss'\. Give it another"),
])
def test_an_evaluation_that_fits_no_record_is_refused(returned, words):
    with pytest.raises(Refusal, match=words):
        list(train(model_of(), EXAMPLES, replace(CONFIG, max_steps=1), evaluate=lambda _: returned))
