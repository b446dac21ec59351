import itertools
import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit.errors import Refusal
from ftkit.files import read_json, sha256, write_json
from ftkit.lora.adapter import add_lora_
from ftkit.lora.config import LoraConfig
from ftkit.runs import open_run, read_card
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner, Randomness, hash_of
from ftkit.train.lion import Lion
from ftkit.train.loop import train
from ftkit.train.order import Order

TIMES = ("tokens_per_s", "peak_gib", "elapsed_s")
EXAMPLES = [([(start * 5 + 3 * step) % 32 for step in range(6 + start % 5)],) * 2 for start in range(20)]
LION = TrainConfig(learning_rate=1e-3, max_steps=9, batch_size=4, optimizer="lion", weight_decay=0.1)


def model_of(lora=False):
    with Randomness(0):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                             num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64))
    return add_lora_(model, LoraConfig(rank=2, dropout=0.5), seed=0) if lora else model


def without_times(records):
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def opened(folder, config, **parameters):
    return open_run(folder, asdict(config) | parameters, name="try", seed=config.seed)


def test_lion_moves_weights_as_that_of_bitsandbytes_does():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(40, 30, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings = {"lr": 3e-3, "betas": (0.9, 0.99), "weight_decay": 0.2}
    lion, reference = Lion([ours], **settings), bitsandbytes.optim.Lion32bit([theirs], **settings)
    for step in range(30):
        ours.grad = torch.randn(40, 30, generator=generator) * 10.0 ** (step % 3)
        theirs.grad = ours.grad.clone()
        lion.step(), reference.step()
        # the same sums in another order: six digits of weights of about 1; a sign that differed would show as 6e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_two_steps_of_lion_are_those_of_arithmetic_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    lion = Lion([weight], lr=0.1, betas=(0.9, 0.5), weight_decay=0.5)
    weight.grad = torch.tensor([4.0, -1.0])
    lion.step()  # m = 0, so the sign is the gradient's: 1·0.95 − 0.1, −2·0.95 + 0.1; then m = 0.5 g
    torch.testing.assert_close(weight.data, torch.tensor([0.85, -1.8]))
    weight.grad = torch.tensor([-20.0, 1.0])
    lion.step()  # 0.9·2 − 0.1·20 < 0 turns round; 0.9·(−0.5) + 0.1·1 < 0 does not
    torch.testing.assert_close(weight.data, torch.tensor([0.85 * 0.95 + 0.1, -1.8 * 0.95 + 0.1]))


def test_a_weight_without_a_gradient_stays_and_a_closure_is_called():
    still, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    lion = Lion([still, moved], lr=0.1)

    def closure():
        lion.zero_grad()
        loss = moved.sum()
        loss.backward()
        return loss

    assert lion.step(closure).item() == 2.0
    assert still.tolist() == [1.0, 1.0] and moved.tolist() == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize("settings, words", [
    ({"lr": -1.0}, r"lr must be 0 or more, got -1\.0\."),
    ({"weight_decay": math.nan}, r"weight_decay must be 0 or more, got nan\."),
    ({"betas": (0.9, 1.0)}, r"betas\[1\] must be from 0 to below 1, got 1\.0\. Take betas=\(0\.9, 0\.99\)\."),
])
def test_a_number_out_of_range_is_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        Lion([nn.Parameter(torch.ones(1))], **settings)


def test_training_with_lion_moves_every_weight_by_the_learning_rate_and_decays_no_bias():
    model = model_of()
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    next(train(model, EXAMPLES, replace(LION, schedule="constant")))
    for name, one in model.named_parameters():
        decay = 1 - 1e-3 * 0.1 if one.dim() > 1 else 1.0
        apart = (one.detach() - before[name] * decay).abs()
        moved = apart > 1e-5  # an embedding of a token that was not there has no gradient
        torch.testing.assert_close(apart[moved], torch.full_like(apart[moved], 1e-3), rtol=0, atol=1e-6)
        assert moved.float().mean() > (0.5 if "embed" in name or "lm_head" in name else 0.99), name


@pytest.mark.parametrize("lora, steps", [(True, 4), (False, 7)])
def test_a_training_with_lion_that_was_stopped_goes_on_bit_for_bit(tmp_path, lora, steps):
    config, whole = replace(LION, checkpoint_every=3), model_of(lora)
    want = without_times(train(whole, EXAMPLES, config))
    with opened(tmp_path, config) as run:
        list(itertools.islice(train(model_of(lora), EXAMPLES, config, run=run), steps))
    model = model_of(lora)
    with opened(tmp_path, config) as run:
        assert without_times(train(model, EXAMPLES, config, run=run)) == want
    assert hash_of(dict(model.named_parameters())) == hash_of(dict(whole.named_parameters()))


def test_lion_learns_and_keeps_half_of_what_adamw_keeps():
    sizes = {}
    for optimizer, rate in (("adamw", 1e-2), ("lion", 3e-3)):
        config = replace(LION, optimizer=optimizer, max_steps=40)
        learner, order = Learner(model_of(), config), Order(EXAMPLES, config, 0)
        losses = [learner.step(order, step.rows, rate)["loss"] for step in order.steps()]
        assert losses[-1] < 0.7 * losses[0]
        sizes[optimizer] = sum(one.numel() for name, one in learner.optimizer_tensors().items() if "exp_avg" in name)
    assert sizes["adamw"] == 2 * sizes["lion"]


def as_before_lion(folder):
    """Makes a run folder one that was written before there was a choice of optimizers."""
    card = read_json(folder / "card.json")
    del card["parameters"]["optimizer"]
    write_json(folder / "card.json", card)
    for checkpoint in (folder / "checkpoints").iterdir():
        state = read_json(checkpoint / "state.json")
        del state["identity"]["config"]["optimizer"]
        write_json(checkpoint / "state.json", state)
        hashes = read_json(checkpoint / "hashes.json")
        write_json(checkpoint / "hashes.json", hashes | {"state.json": sha256(checkpoint / "state.json")})


def test_a_run_from_before_there_was_a_choice_of_optimizers_goes_on_with_adamw(tmp_path):
    config = replace(LION, optimizer="adamw", learning_rate=1e-2, checkpoint_every=3)
    want = without_times(train(model_of(), EXAMPLES, config))
    with opened(tmp_path, config) as run:
        list(itertools.islice(train(model_of(), EXAMPLES, config, run=run), 5))
    as_before_lion(tmp_path)
    with opened(tmp_path, config) as run:
        assert without_times(train(model_of(), EXAMPLES, config, run=run)) == want
    assert read_card(tmp_path).metrics["steps"] == 9


def test_such_a_run_is_not_taken_for_one_with_lion(tmp_path):
    config = replace(LION, optimizer="adamw", checkpoint_every=3)
    with opened(tmp_path, config) as run:
        list(itertools.islice(train(model_of(), EXAMPLES, config, run=run), 5))
    as_before_lion(tmp_path)
    with pytest.raises(Refusal, match=r"There and here: optimizer 'adamw' and 'lion'\. Choose another folder\."):
        opened(tmp_path, replace(LION, checkpoint_every=3))
    with open_run(tmp_path, read_card(tmp_path).parameters, name="try", seed=0) as run, \
            pytest.raises(Refusal, match=r"must be made with optimizer='lion', got 'adamw'"):
        list(train(model_of(), EXAMPLES, replace(LION, checkpoint_every=3), run=run))


def test_lion_learns_in_mixed_precision():
    records = list(train(model_of(), EXAMPLES, replace(LION, precision="bf16")))
    assert records[-1]["loss"] < records[0]["loss"]


# Evaluation at the end of each epoch


def test_an_evaluation_after_each_epoch_comes_after_its_last_step():
    config = replace(LION, max_steps=None, epochs=3, eval_every="epoch")
    records = list(train(model_of(), EXAMPLES, config, held_out=EXAMPLES[:4], evaluate=lambda _: {"asked": 1}))
    asked = [record["step"] for record in records if "asked" in record]
    assert asked == [5, 10, 15] == [one["step"] for one in records if one["held_out_loss"] is not None]


def test_the_last_step_is_evaluated_even_in_the_middle_of_an_epoch():
    records = list(train(model_of(), EXAMPLES, replace(LION, max_steps=7, eval_every="epoch"), held_out=EXAMPLES[:4]))
    assert [record["step"] for record in records if record["held_out_loss"] is not None] == [5, 7]


def test_patience_counts_epochs_where_epochs_are_evaluated_and_a_restart_changes_nothing(tmp_path):
    config = replace(LION, max_steps=None, epochs=40, eval_every="epoch", patience=2, min_delta=100.0,
                     checkpoint_every=4, accumulation=2)
    want = without_times(train(model_of(), EXAMPLES, config, held_out=EXAMPLES[:4]))
    assert len(want) == 9  # three steps an epoch: the first evaluation is the best so far, then two without gain
    with opened(tmp_path, config) as run:
        list(itertools.islice(train(model_of(), EXAMPLES, config, held_out=EXAMPLES[:4], run=run), 5))
    with opened(tmp_path, config) as run:
        assert without_times(train(model_of(), EXAMPLES, config, held_out=EXAMPLES[:4], run=run)) == want
    assert read_card(tmp_path).metrics["stopped_early"]


@pytest.mark.parametrize("changes, words", [
    ({"optimizer": "lyon"}, r"optimizer must be one of adamw, lion, got 'lyon'\. Did you mean lion\?"),
    ({"eval_every": "epochs"}, r"eval_every must be a whole number, 1 or more, 'epoch', or None, got 'epochs'\."),
    ({"eval_every": 0}, r"eval_every must be a whole number, 1 or more, or None, got 0\."),
])
def test_an_unknown_optimizer_or_rhythm_is_refused(changes, words):
    with pytest.raises(Refusal, match=words):
        replace(LION, **changes)
