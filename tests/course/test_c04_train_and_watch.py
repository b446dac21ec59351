"""Lesson 04: its answers agree with torch, transformers and the package; what ships with it fits the kit."""

import math

import pytest
import torch
import torch.nn.functional as F
import transformers

from ftkit.course import catalogue
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner
from ftkit.train.loop import train
from ftkit.train.order import Order

STEM = "04_train_and_watch"


# ---- the official answers beside what they stand for

@pytest.mark.parametrize(("records", "batch_size", "accumulation", "epochs"), [
    (1000, 4, 4, 3), (10, 4, 2, 2), (7, 8, 3, 5), (33, 2, 5, 1)])
def test_the_steps_of_the_exercise_are_those_of_the_packages_order(records, batch_size, accumulation, epochs):
    config = TrainConfig(learning_rate=1e-3, epochs=epochs, batch_size=batch_size, accumulation=accumulation)
    order = Order([([1, 2], [-100, 2])] * records, config, pad_id=0)
    assert catalogue.solution_value("04.1")(records, batch_size, accumulation, epochs, 0, 1)[0] == order.total_steps


def test_the_steps_of_the_exercise_are_those_of_a_torch_loader_with_and_without_drop_last():
    for drop_last in (False, True):
        batches = len(torch.utils.data.DataLoader(range(30), batch_size=8, drop_last=drop_last))
        assert catalogue.solution_value("04.1")(30, 8, 1, 2, 0, 5, drop_last)[0] == 2 * batches


def test_behind_the_warm_up_the_schedule_of_the_exercise_is_that_of_transformers_one_step_further():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    theirs = transformers.get_wsd_schedule(optimizer, num_warmup_steps=4, num_decay_steps=6, num_training_steps=20,
                                           min_lr_ratio=0.2)
    rate = catalogue.solution_value("04.2")
    for step in range(1, 21):
        optimizer.step()
        theirs.step()  # counts from 0, and rises from the floor where the exercise rises from 0
        assert step < 4 or rate(step, 20, 0.01, 4, 6, 0.2) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)


def test_the_parts_of_the_exercise_add_up_to_the_loss_of_one_big_batch():
    generator = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(4, 6, 9, generator=generator), torch.randint(9, (4, 6), generator=generator)
    labels[0, :5], labels[2, 3:] = -100, -100
    found = catalogue.solution_value("04.3")([logits[:1], logits[1:]], [labels[:1], labels[1:]],
                                             [torch.ones(1, 6), torch.ones(3, 6)])
    want = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(sum(found), want, rtol=1e-6, atol=1e-6)  # sums in another order


@pytest.mark.parametrize("most", [0.5, 3.0, 1e6])
def test_the_clipping_of_the_exercise_is_that_of_torch(most):
    weights = [torch.nn.Parameter(torch.zeros(5, 3)), torch.nn.Parameter(torch.zeros(7)), torch.nn.Parameter(
        torch.zeros(2))]
    for weight in weights[:2]:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    mine = [None if weight.grad is None else weight.grad.clone() for weight in weights]
    norm = torch.nn.utils.clip_grad_norm_(weights, most)
    assert catalogue.solution_value("04.4")(mine, most) == pytest.approx(float(norm), rel=1e-6)
    for weight, one in zip(weights[:2], mine[:2], strict=True):
        torch.testing.assert_close(weight.grad, one, rtol=1e-5, atol=1e-6)  # torch adds 1e-6 to the norm


def test_where_every_entry_agrees_the_cautious_lion_of_the_exercise_is_lion():
    generator = torch.Generator().manual_seed(4)
    weight, grad = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    found, momentum = catalogue.solution_value("04.5")(weight, grad, 0.5 * grad, 0.01, 0.9, 0.99, 0.1)
    torch.testing.assert_close(found, weight * (1 - 0.01 * 0.1) - 0.01 * grad.sign())
    torch.testing.assert_close(momentum, 0.99 * 0.5 * grad + 0.01 * grad)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_the_package_stops_where_the_exercise_says(patience, monkeypatch):
    losses = [2.0, 1.5, 1.6, 1.2, 1.25, 1.21, 1.3, 1.1, 1.4]
    planned = iter(losses)
    monkeypatch.setattr(Learner, "loss_on", lambda self, held_out: next(planned))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    examples = [([1, 2, 3], [-100, 2, 3])] * 4
    config = TrainConfig(learning_rate=1e-3, max_steps=len(losses), batch_size=2, eval_every=1, patience=patience)
    steps = len(list(train(model, examples, config, held_out=examples)))
    stream = ((step, math.exp(loss)) for step, loss in enumerate(losses, start=1))
    assert catalogue.solution_value("04.6")(stream, patience, 0.0)[0] == steps < len(losses)
