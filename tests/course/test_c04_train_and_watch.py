"""Lesson 04: its answers agree with torch, transformers and the package; what ships with it fits the kit."""

import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
import torch.nn.functional as F
import transformers

from ftkit import hub
from ftkit.course import catalogue, page, recorded
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner
from ftkit.train.loop import train
from ftkit.train.order import Order

STEM = "04_train_and_watch"
ROOT = Path(__file__).parents[2]
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"


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


# ---- what ships: cards, page, claims

GROUPS = ("recipe", "rates", "epochs", "remedies", "fixed")
LOSS, NORM = ("held-out loss", "held_out", ".3f"), ("longest gradient", "norm", ".1f")
ROUGH, RIGHT = ("roughness", "rough", ".3f"), ("clinic, held out", "right", ".2f")
RATES = {"recipe": ("rate / 4", "linear", "rate x 4"), "rates": ("rate x 16",),
         "recipe ": ("lion, rate / 10", "lion, rate / 2.5", "lion, rate x 1.6"), "rates ": ("lion, rate x 6.4",)}
# name on the page -> points by group of cards, and columns: words, metric, form
TABLES = {
    "recipe": ({"recipe": ("linear", "constant", "cosine", "warm-up 8", "warm-up 40", "weight decay 0.1",
                           "weight decay 1", "clipping at 0.1", "no clipping", "dropout 0.1")}, (LOSS, NORM, ROUGH)),
    "rates": (RATES, (LOSS, NORM, ROUGH)),
    "high": ({"recipe": ("rate x 4", "rate x 4, warm-up 8", "rate x 4, warm-up 40", "rate x 4, no clipping",
                         "rate x 4, warm-up 8, no clipping", "full", "full, warm-up 16", "full, rate x 10",
                         "full, rate x 10, warm-up 16")}, (LOSS, NORM, ROUGH)),
    "same": ({"recipe": ("linear", "checkpointing", "bfloat16", "8 x 1", "4 x 2", "1 x 8")},
             (("held-out loss", "held_out", ".4f"),)),
    "epochs": ({"epochs": ("lora", "full")}, (
        ("best epoch", "best epoch", ".0f"), ("loss there", "lowest", ".3f"), ("loss after 24", "held_out", ".3f"),
        ("patience 3 stops after", "stop", ".0f"), ("and keeps", "kept", ".3f"),
        ("alarm in epoch", "alarm", ".0f"), *((f"right after {epoch}", f"right after {epoch}", ".2f")
                                              for epoch in (3, 5, 10, 24)))),
    "remedies": ({"remedies": (
        "overfitting", "over: 40 steps", "over: 128 records", "over: dropout 0.1", "over: dropout 0.3",
        "over: weight decay 0.1", "over: weight decay 1", "over: rank 2", "over: linear schedule", "underfitting",
        "under: rate x 4", "under: 4 times the steps", "under: alpha x 4", "under: rank 8",
        "under: all linear modules")}, (LOSS, ("training loss", "loss", ".3f"), RIGHT)),
    "fixed": ({"fixed": ("warm-up 100", "warm-up 19")}, (LOSS, RIGHT)),
}


@pytest.fixture(scope="module")
def cards():
    return {group: recorded.shipped(STEM, group) for group in GROUPS}


def spread(cards, point, metric="held_out", form=".3f"):
    found = recorded.values(cards, f"{point}: {metric}")
    return f"{fmean(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def mean(cards, point, metric="held_out"):
    return fmean(recorded.values(cards, f"{point}: {metric}"))


def table_of(name, cards):
    """One table of the page: a row a point."""
    points, columns = TABLES[name]
    rows = [["", *(words for words, _, _ in columns)], ["---"] * (1 + len(columns))]
    rows += [[point, *(spread(cards[group.strip()], point, metric, form) for _, metric, form in columns)]
             for group, names in points.items() for point in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def above(cards, point):
    """By which share the last held-out loss lies above the lowest: mean and span over seeds."""
    found = [last / low - 1 for last, low in zip(recorded.values(cards, f"{point}: held_out"),
                                                 recorded.values(cards, f"{point}: lowest"), strict=True)]
    return f"{fmean(found):.0%} ({min(found):.0%} to {max(found):.0%})"


def evidence(cards):
    """What claims.md says of each claim, by id."""
    recipe, rates, epochs, remedies, fixed = (cards[group] for group in GROUPS)
    n = len(recipe)
    right = {point: ", ".join(f"{mean(epochs, point, f'right after {epoch}'):.2f}" for epoch in (3, 5, 10, 24))
             for point in ("lora", "full")}
    best, stop, alarm = (spread(epochs, "lora", what, ".0f") for what in ("best epoch", "stop", "alarm"))
    whole = recorded.values(recipe, "8 x 1: held_out")
    apart = [abs(one - other) for point in ("4 x 2", "1 x 8")
             for one, other in zip(recorded.values(recipe, f"{point}: held_out"), whole, strict=True)]
    longest = max(max(recorded.values(recipe, f"{point}: norm")) for point in ("linear", "rate x 4", "full",
                                                                               "full, rate x 10"))

    def tried(trouble, names):
        return "; ".join(f"{name} {spread(remedies, f'{trouble}: {name}')}" for name in names)

    return {
        "C09": f"64 records, 24 epochs at a constant rate, {n} seeds: with LoRA the held-out loss is lowest after "
               f"epoch {best} and {above(epochs, 'lora')} higher at the end, with full fine-tuning after epoch "
               f"{spread(epochs, 'full', 'best epoch', '.0f')} and {above(epochs, 'full')} higher; clinic right after "
               f"3, 5, 10 and 24 epochs {right['lora']} with LoRA, {right['full']} with full fine-tuning; scale tiny",
        "C10": f"8 records a step as 8 × 1, 4 × 2 and 1 × 8, by label tokens, {n} seeds: after 60 steps the held-out "
               f"losses are {max(apart):.4f} apart at most, seeds {max(whole) - min(whole):.3f}; by a mean of means "
               "already the first loss is another one; scale tiny",
        "C31": f"64 records, LoRA, {n} seeds: the alarm rings in epoch {alarm}; patience 3 stops after {stop} epochs "
               f"and keeps a held-out loss of {spread(epochs, 'lora', 'kept')}, the lowest of 24 epochs being "
               f"{spread(epochs, 'lora', 'lowest')}; clinic right after 3, 5, 10 and 24 epochs {right['lora']}; "
               "scale tiny",
        "C34": f"{n} seeds, four rates each: held-out loss at the best of them {spread(recipe, 'lion, rate x 1.6')} "
               f"with Lion (6.4e-3), {spread(recipe, 'rate x 4')} with AdamW (1.6e-2); at four times these rates "
               f"{spread(rates, 'lion, rate x 6.4', form='.1f')} and {spread(rates, 'rate x 16', form='.1f')}; "
               f"roughness {spread(recipe, 'lion, rate x 1.6', 'rough')} and {spread(recipe, 'rate x 4', 'rough')}; "
               "scale tiny",
        "C35": "counted: 10 of 12 architectures have no BatchNorm, among them all language models; in a loop by hand "
               "`eval()` with dropout 0.3 gives the losses of `train()` without dropout, bit for bit; dropout of 0.1 "
               f"changes the held-out loss by {mean(recipe, 'dropout 0.1') - mean(recipe, 'linear'):+.3f} in 60 steps "
               f"({n} seeds); scale tiny",
        "C39": "by arithmetic: 189 steps on 1,000 records, 53% of them warm-up, no checkpoint and no evaluation due "
               f"before the end; {n} seeds: held-out loss {spread(fixed, 'warm-up 100')} with a warm-up of 100 steps, "
               f"{spread(fixed, 'warm-up 19')} with 19; scale tiny",
        "C46": f"{n} seeds, one remedy at a time, held-out loss. 32 records, 30 epochs at twice the rate: "
               f"{spread(remedies, 'overfitting')}; "
               + tried("over", ("dropout 0.1", "dropout 0.3", "weight decay 1", "rank 2", "40 steps", "128 records"))
               + f". 60 steps of a small adapter at a low rate: {spread(remedies, 'underfitting')}; "
               + tried("under", ("rank 8", "alpha x 4", "rate x 4", "4 times the steps", "all linear modules"))
               + "; scale tiny",
        "C50": f"{n} seeds, held-out loss without and with warm-up: LoRA {spread(recipe, 'linear')} and "
               f"{spread(recipe, 'warm-up 8')}, at four times the rate {spread(recipe, 'rate x 4')} and "
               f"{spread(recipe, 'rate x 4, warm-up 8')}; full fine-tuning {spread(recipe, 'full')} and "
               f"{spread(recipe, 'full, warm-up 16')}, at ten times the rate {spread(recipe, 'full, rate x 10')} and "
               f"{spread(recipe, 'full, rate x 10, warm-up 16')}; longest gradient without warm-up {longest:.0f}; "
               "scale tiny",
    }


def renewed(cards):
    """The page with the figures of the cards in their places."""
    return page.filled(PAGE.read_text("utf-8"), {name: table_of(name, cards) for name in TABLES})


def test_the_shipped_cards_are_of_the_shipped_base_with_three_seeds_or_more(cards):
    for group in cards.values():
        assert {card.model["sha256"] for card in group} == {hub.model_hash()}
        assert sorted(card.seed for card in group) == list(range(len(group))) and len(group) >= 3


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(cards):
    assert renewed(cards) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(cards), check=True)


def test_what_the_lesson_says_about_the_figures_is_so(cards):
    recipe, rates, epochs, remedies, fixed = (cards[group] for group in GROUPS)

    def each(group, one, other, what="held_out"):
        """Whether one point's figure is lower than another's, for each seed."""
        return [a < b for a, b in zip(recorded.values(group, f"{one}: {what}"),
                                      recorded.values(group, f"{other}: {what}"), strict=True)]

    by_rate_left = ["constant", "linear", "warm-up 40"]
    assert all(all(each(recipe, *pair)) for pair in zip(by_rate_left, by_rate_left[1:], strict=False))
    assert all(each(recipe, "linear", "cosine")) and all(each(recipe, "linear", "no clipping"))
    assert all(each(recipe, "lion, rate x 1.6", "rate x 4")) and min(mean(rates, "rate x 16"),
                                                                     mean(rates, "lion, rate x 6.4")) > 5
    assert all(each(recipe, "full, rate x 10, warm-up 16", "full, rate x 10"))
    assert mean(recipe, "warm-up 8") > mean(recipe, "linear")  # nothing gained, if little lost
    assert mean(epochs, "lora", "right after 24") > mean(epochs, "lora", "right after 10")
    assert mean(epochs, "lora", "alarm") < 7 < mean(epochs, "lora", "best epoch")
    over = {point: mean(remedies, point) for point in TABLES["remedies"][0]["remedies"]}
    assert sorted((name for name in over if name.startswith("over")), key=over.get)[:2] == ["over: 128 records",
                                                                                           "over: 40 steps"]
    assert over["over: dropout 0.1"] > over["overfitting"]
    assert sorted((name for name in over if name.startswith("under")), key=over.get) == [
        "under: 4 times the steps", "under: rate x 4", "under: all linear modules", "under: rank 8",
        "under: alpha x 4", "underfitting"]
    assert abs(mean(fixed, "warm-up 100") - mean(fixed, "warm-up 19")) < 0.01


if __name__ == "__main__":
    shipped = {group: recorded.shipped(STEM, group) for group in GROUPS}
    PAGE.write_text(renewed(shipped), "utf-8")
    page.refresh_claims(CLAIMS, evidence(shipped))
