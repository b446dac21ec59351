import itertools
import math
import random
from dataclasses import asdict, replace

import pytest
import torch

from ftkit import chat, methods
from ftkit.errors import Refusal
from ftkit.runs import open_run, read_card, read_trace
from ftkit.tiny import base, clinic
from ftkit.train import curves
from ftkit.train.config import TrainConfig
from ftkit.train.curves import curves_of, gap_alarm, largest_rise, noise_of, smoothed, times_risen, without_outliers
from ftkit.train.diagnosis import FEWEST, KINDS, diagnose
from ftkit.train.loop import train
from ftkit.train.remedies import remedies_for

SEEDS = range(10)


def falling(high, low, speed):
    return lambda share, _: low + (high - low) * math.exp(-speed * share)


def planted(loss, held_out=None, steps=120, noise=0.05, seed=0, schedule="linear"):
    """A trace whose curves are functions of the share of the training that is done, with noise in proportion."""
    generator, trace = random.Random(seed), []
    for step in range(1, steps + 1):
        share = step / steps
        one = max(1e-4, loss(share, generator) * (1 + noise * generator.gauss(0, 1)))
        other = None
        if held_out is not None and step % max(1, steps // 12) == 0:
            other = max(1e-4, held_out(share, generator) * (1 + 0.3 * noise * generator.gauss(0, 1)))
        rate = 1e-3 * (1 - (step - 1) / steps if schedule == "linear" else 1)
        trace.append({"step": step, "loss": one, "held_out_loss": other, "learning_rate": rate,
                      "grad_norm": abs(generator.gauss(1, 0.2))})
    return trace


def hump(share, _):
    return 0.5 + 2.5 * math.exp(-6 * share) + 2.5 * math.exp(-(((share - 0.4) / 0.04) ** 2))


def turning(share, _):
    return 0.8 + 2.2 * math.exp(-12 * share) + 0.9 * max(0, share - 0.3)


PLANTED = {
    "fine": ("fine", falling(3, 0.5, 12), falling(3, 0.6, 12)),
    "fine, with a held-out loss that stays a little above": ("fine", falling(2, 1.1, 12), falling(2, 1.3, 12)),
    "fine, from a large model's loss": ("fine", falling(1.9, 1.3, 10), None),
    "fine, though held-out losses begin late": ("fine", falling(11, 0.3, 10), falling(11, 0.4, 9)),
    "flat": ("not learning", lambda share, _: 3.0, lambda share, _: 3.0),
    "flat, not held out": ("not learning", lambda share, _: 0.7, None),
    "cut off": ("underfitting", lambda share, _: 3 - 0.9 * share, lambda share, _: 3.05 - 0.9 * share),
    "cut off, a little": ("underfitting", falling(3, 0.5, 1.5), None),
    "held-out turns": ("overfitting", falling(3, 0.05, 6), turning),
    "learned by heart": ("overfitting", falling(3, 0.02, 6), falling(3, 1.2, 14)),
    "rises for good": ("diverging", lambda share, _: max(3 * math.exp(-5 * share), 6 * (share - 0.33)), None),
    "jumps up for good": ("diverging", lambda share, _: 3 * math.exp(-5 * share) if share < 0.4 else 7.0, None),
    "rises from the start": ("diverging", lambda share, _: 3 + 6 * share, lambda share, _: 3 + 6 * share),
    "rises and comes back": ("unstable", hump, None),
    "spikes": ("unstable", lambda share, one: 0.5 + 2.5 * math.exp(-6 * share) + 2.0 * (one.random() < 0.1), None),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("steps", [60, 120, 500])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.08])
def test_a_planted_case_is_diagnosed_through_noise(name, steps, noise):
    kind, loss, held_out = PLANTED[name]
    found = [diagnose(planted(loss, held_out, steps, noise, seed)).kind for seed in SEEDS]
    assert found.count(kind) == len(found) if noise < 0.05 else found.count(kind) >= 9, found


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_what_a_schedule_does_to_the_end_of_a_curve_is_not_taken_for_having_learned_all(schedule):
    """A loss that falls in proportion to the learning rates summed up flattens where they go down to 0."""
    def fall(share, _):
        return 3 - 1.5 * (share if schedule == "constant" else 1 - (1 - share) ** 2)

    found = {diagnose(planted(fall, seed=seed, schedule=schedule, noise=0.03)).kind for seed in SEEDS}
    assert found == {"underfitting"}


@pytest.mark.parametrize("seed", range(40))
def test_random_shapes_near_the_borders_get_one_kind_with_evidence_and_what_to_do(seed):
    generator = random.Random(seed)
    high, low, speed = generator.uniform(0.05, 10), generator.uniform(0, 1), generator.uniform(0, 15)
    bend, width, noise = generator.uniform(0, 1), generator.uniform(0.01, 0.3), generator.uniform(0, 0.4)
    lift = generator.choice([0, 0, generator.uniform(0, 2)])

    def loss(share, _):
        return high * (low + (1 - low) * math.exp(-speed * share) + lift * math.exp(-(((share - bend) / width) ** 2)))

    held_out = generator.choice([None, lambda share, _: loss(share, _) + high * generator.uniform(0, 1) * share])
    found = diagnose(planted(loss, held_out, generator.randrange(10, 300), noise, seed))
    assert found.kind in KINDS and found.evidence and (found.kind == "fine" or found.remedies)
    assert str(found).startswith(f"Diagnosis: {found.kind}\n  ") and "nan" not in str(found)


def test_noise_alone_is_neither_learning_nor_diverging():
    found = [diagnose(planted(lambda share, _: 2.0, noise=0.1, steps=300, seed=seed)).kind for seed in range(30)]
    assert found.count("not learning") >= 28, found


def test_one_hard_batch_is_no_instability():
    trace = planted(falling(3, 0.5, 12), noise=0.03)
    trace[70]["loss"] = 4.0
    assert diagnose(trace).kind == "fine"


# Evidence and remedies


def test_the_evidence_names_steps_and_losses_and_the_remedies_their_price():
    found = diagnose(planted(falling(3, 0.05, 6), turning, noise=0.0))
    best = found.numbers["best_step"]
    assert 20 <= best <= 50
    assert found.evidence[0].startswith(f"The held-out loss was lowest at step {best} (")
    assert "while the training loss went from" in found.evidence[0] and "rang first at step" in found.evidence[1]
    assert found.remedies[0].what == f"stop at step {best} (patience does it, and goes back to those weights)"
    assert found.remedies[0].cost == f"nothing: it saves {1 - best / 120:.0%} of the time"
    assert [one.what for one in found.remedies[1:4]] == ["more dropout", "weight decay",
                                                         "a smaller rank, or fewer target modules"]
    lines = str(found).splitlines()
    assert lines[0] == "Diagnosis: overfitting" and "Try, in this order:" in lines
    assert lines[-1].startswith("  5. more, and more different, examples (costs: the work")


def test_learning_rates_in_remedies_are_those_of_the_trace_times_a_factor():
    assert "ten times higher learning rate: 0.01 instead of 0.001" in str(diagnose(planted(lambda *_: 3.0)))
    assert "ten times lower learning rate: 0.0001 instead of 0.001" in str(diagnose(planted(lambda at, _: 3 + 6 * at)))


def test_without_held_out_losses_the_diagnosis_says_what_it_cannot_see():
    found = diagnose(planted(falling(3, 0.5, 12)))
    assert found.kind == "fine" and found.remedies == ()
    assert found.evidence[-1] == "No held-out loss was measured, so overfitting could not be seen."


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_of_too_few_records_nothing_is_told(count):
    found = diagnose(planted(falling(3, 0.5, 12), turning)[:count])
    assert found.kind == "too few records"
    assert found.evidence == (f"{count} records: nothing can be told before there are {FEWEST}.",)


def test_a_loss_that_is_no_number_is_diverging_however_short_the_trace():
    assert diagnose([{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}]).evidence[0] == \
        "The loss at step 2 is no finite number."
    assert "held-out loss at step 1" in diagnose([{"step": 1, "loss": 2.0, "held_out_loss": math.inf}]).evidence[0]


def test_a_target_decides_what_is_low_enough():
    trace = planted(falling(3, 1.0, 12), noise=0.0)
    assert diagnose(trace).kind == diagnose(trace, target_loss=1.1).kind == "fine"
    found = diagnose(trace, target_loss=0.5)
    assert found.kind == "underfitting"
    assert found.evidence[0] == "The training loss ended at 1, above the 0.5 that is low enough."


def test_a_loss_that_was_low_from_the_start_is_fine():
    assert diagnose(planted(lambda *_: 0.02, lambda *_: 0.02)).kind == "fine"


def test_every_kind_of_trouble_has_remedies_with_a_price():
    for kind in KINDS:
        for numbers in ({}, {"learning_rate": 1e-3, "steps": 100, "best_step": 60, "no_gradient": True}):
            remedies = remedies_for(kind, numbers)
            assert bool(remedies) == (kind != "fine") and all(one.what and one.cost for one in remedies)


@pytest.mark.parametrize("trace, words", [
    ("loss", r"trace must be a list of records, got 'loss'\. Pass list\(train\(\.\.\.\)\), or runs\.read_trace"),
    ([1.0], r"trace\[0\] must be a record: a mapping with step and loss, got 1\.0\."),
])
def test_what_is_no_trace_is_refused(trace, words):
    for read in (diagnose, gap_alarm, curves_of):
        with pytest.raises(Refusal, match=words):
            read(trace)


def test_a_target_that_is_no_loss_is_refused():
    with pytest.raises(Refusal, match=r"target_loss must be a number above 0, or None, got 0\."):
        diagnose([], target_loss=0)


# The gap alarm


def test_the_gap_alarm_says_when_it_first_rang_and_whether_it_still_does():
    found = gap_alarm(planted(falling(3, 0.5, 6), lambda share, _: 0.5 + 2.5 * math.exp(-6 * share) + 0.6 * share,
                              noise=0.0))
    assert found and found.rings_now and 20 < found.first_step < 80 and found.gap > 0.3
    assert str(found).startswith(f"The gap alarm (30%) rang first at step {found.first_step} and still rings at the")


def test_the_gap_alarm_compares_with_smoothed_training_loss():
    trace = [{"step": step, "loss": 1.0, "held_out_loss": None} for step in range(1, 41)]
    trace[-1] |= {"loss": 0.5, "held_out_loss": 1.05}  # an easy batch right where it is evaluated
    assert not gap_alarm(trace)
    assert gap_alarm(trace[-1])  # one record alone is one batch
    assert gap_alarm(trace, share=0.05)


def test_of_tiny_losses_the_alarm_says_that_a_ratio_exaggerates():
    trace = [{"step": step, "loss": 0.01, "held_out_loss": 0.02} for step in range(1, 21)]
    assert "a ratio exaggerates; as perplexity it is 1.010 and 1.020." in str(gap_alarm(trace))


def test_without_evaluations_the_alarm_says_so():
    assert str(gap_alarm([{"step": 1, "loss": 1.0}])) == \
        "No held-out loss was measured: nothing can be said about a gap."
    assert gap_alarm([]).gap is None


@pytest.mark.parametrize("share", [0, -1, "0.3", True])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(Refusal, match=r"share must be a number above 0, got .*Take 0\.30\."):
        gap_alarm([], share)


def test_curves_are_measured_as_said():
    assert smoothed([0.0] * 30 + [1.0] * 30)[30] == pytest.approx(4 / 7)  # a window of six reaches three to each side
    generator = random.Random(0)
    noisy = [10 - 0.01 * place + generator.gauss(0, 0.5) for place in range(2000)]
    assert noise_of(noisy) == pytest.approx(0.5, rel=0.1)
    assert noise_of([1.0]) == 0.0
    assert without_outliers([1.0, 1.0, 50.0, 1.0]) == [1.0, 1.0, 2.0, 1.0]
    assert largest_rise([1.0]) == (0, 0) and times_risen([0, 3, 0, 3, 0, 3], 2) == 3
    assert curves_of([{"note": 1}, {"step": 1, "loss": "?"}]).steps == [1] and curves.ALARM_SHARE == 0.30


def test_the_log_history_of_transformers_trainer_is_a_trace_too():
    ours, theirs = planted(falling(3, 0.05, 6), turning, noise=0.0), []
    for record in ours:
        theirs.append({name: value for name, value in record.items() if name != "held_out_loss"})
        if record["held_out_loss"] is not None:
            theirs.append({"step": record["step"], "eval_loss": record["held_out_loss"], "eval_runtime": 1.0})
    theirs.append({"step": 120, "train_loss": 0.4, "train_runtime": 9.0})
    assert diagnose(theirs) == diagnose(ours)
    seldom = [record for record in theirs if "loss" not in record or record["step"] % 7 == 0]  # logging_steps=7
    assert diagnose(seldom).kind == "overfitting" and gap_alarm(seldom).first_step > 20


# Real trainings, short


@pytest.fixture(scope="module")
def examples():
    tokenizer = base.load()[1]
    return ([chat.encode(record, tokenizer) for record in clinic.records("train")[:320]],
            [chat.encode(record, tokenizer) for record in clinic.records("test")[:12]])


def trained(examples, learning_rate, folder=None, steps=24, **changes):
    model = methods.prepare(base.load()[0], "lora").model
    config = replace(TrainConfig(learning_rate, max_steps=steps, batch_size=6, eval_every=4), **changes)
    return list(train(model, examples[0], config, held_out=examples[1]))


def test_a_real_training_thirty_times_too_fast_is_unstable_or_diverging_and_so_it_reads_from_its_folder(
        examples, tmp_path):
    model = methods.prepare(base.load()[0], "lora").model
    config = TrainConfig(30 * 4e-3, max_steps=24, batch_size=6, eval_every=4)
    with open_run(tmp_path, asdict(config), name="fast", seed=0) as run:
        live = diagnose(list(train(model, examples[0], config, held_out=examples[1], run=run)))
    assert live.kind in ("unstable", "diverging") and "learning rate" in live.remedies[0].what
    assert diagnose(read_trace(tmp_path), error=read_card(tmp_path).error) == live


def test_a_real_training_a_hundred_times_too_slow_is_not_learning_or_underfitting(examples):
    found = diagnose(trained(examples, 4e-3 / 100))
    assert found.kind in ("not learning", "underfitting") and "higher learning rate" in found.remedies[0].what


def test_a_real_training_of_a_model_that_cannot_learn_has_no_gradient(examples):
    model = methods.prepare(base.load()[0], "lora").model
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one.zero_()  # A and B both: the gradient of each is a product with the other
    trace = list(itertools.islice(train(model, examples[0], TrainConfig(1e-3, max_steps=4, batch_size=2)), 4))
    found = diagnose(trace)
    assert found.kind == "not learning" and "zero in 4 of 4 steps" in found.evidence[0]
    assert "one of A and B must not be zero" in found.remedies[0].what


def test_a_training_that_stopped_at_nan_is_diverging_by_its_card(tmp_path, examples):
    model = methods.prepare(base.load()[0], "lora").model
    config = TrainConfig(1e-3, max_steps=4, batch_size=2)
    with pytest.raises(Refusal), open_run(tmp_path, asdict(config), name="nan", seed=0) as run:
        steps = train(model, examples[0], config, run=run)
        next(steps)
        model.lm_head.register_forward_hook(lambda module, given, result: result * math.nan)
        next(steps)
    found = diagnose(read_trace(tmp_path), error=read_card(tmp_path).error)
    assert found.kind == "diverging"
    assert found.evidence[0] == "The training stopped: loss at step 2 must be finite, got nan."
