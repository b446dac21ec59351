import math
from dataclasses import MISSING, fields, replace

import pytest
from transformers import TrainingArguments

from ftkit.errors import Refusal
from ftkit.methods import LEARNING_RATES
from ftkit.train.config import TrainConfig
from ftkit.train.lint import LEVELS, WINDOWS, lint_recipe
from ftkit.train.order import Order
from ftkit.train.trainer_names import DEFAULTS, KNOWN

FAMOUS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_train_epochs": 3,
          "warmup_steps": 100, "save_steps": 500, "learning_rate": 2e-4}
SOUND = TrainConfig(2e-4, epochs=3, batch_size=4, accumulation=4, warmup_ratio=0.1, eval_every=20, patience=3,
                    checkpoint_every=50)


def whats(report):
    return [one.what for one in report.findings]


def test_the_famous_recipe_warms_up_for_half_of_its_steps_and_never_saves():
    report = lint_recipe(FAMOUS, 1000, method="lora")
    assert (report.steps, report.steps_per_epoch, report.warmup, report.checkpoints) == (189, 63, 100, ())
    text = str(report)
    assert text.startswith("189 steps of 16 records, 63 an epoch, 3 epochs\nwarm-up    100 steps, 53% of all\n"
                           "checkpoint none is due before the end\nevaluation none is due before the end\n")
    assert "error: No checkpoint is ever due. Every 500 steps, and there are 189. One is written at the end" in text
    assert "warning: Warm-up takes 53% of the training. 100 of 189 steps. Take a tenth: 18 steps." in text
    assert "warning: Held-out loss is never measured." in text
    assert "No loss is ever logged before the end." in text


def test_the_same_in_our_names_is_the_same_but_for_what_we_do_at_the_end():
    ours = lint_recipe(TrainConfig(2e-4, epochs=3, batch_size=4, accumulation=4, warmup_steps=100,
                                   checkpoint_every=500), 1000, method="lora")
    theirs = lint_recipe(FAMOUS, 1000, method="lora")
    assert (ours.steps, ours.warmup, ours.checkpoints) == (theirs.steps, theirs.warmup, theirs.checkpoints)
    assert "Held-out loss is measured after the last step alone." in whats(ours)
    assert [one.level for one in ours.findings] == sorted((one.level for one in ours.findings), key=LEVELS.index)


def test_a_sound_recipe_has_no_errors_and_no_warnings():
    report = lint_recipe(SOUND, 1008, method="lora", total_parameters=7_000_000_000)
    assert report.findings == () and str(report).endswith("nothing to complain about")
    assert report.evaluations == (20, 40, 60, 80, 100, 120, 140, 160, 180)


@pytest.mark.parametrize("records", [1, 15, 16, 17, 1000, 1001])
@pytest.mark.parametrize("batch_size, accumulation, epochs", [(4, 4, 3), (16, 1, 2), (3, 5, 1), (32, 64, 4)])
def test_steps_are_those_that_the_loop_takes(records, batch_size, accumulation, epochs):
    config = TrainConfig(1e-3, epochs=epochs, batch_size=batch_size, accumulation=accumulation)
    assert lint_recipe(config, records).steps == Order([([1, 2], [1, 2])] * records, config, 0).total_steps


@pytest.mark.parametrize("records, batch, accumulation, epochs, devices, drop", [
    (1000, 4, 4, 3, 1, False), (1000, 8, 3, 2.5, 1, False), (37, 4, 4, 3, 2, False), (1003, 4, 4, 3, 1, True)])
def test_steps_are_those_that_the_trainer_of_transformers_counts(records, batch, accumulation, epochs, devices, drop):
    recipe = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
              "num_train_epochs": epochs, "dataloader_drop_last": drop}
    batches = records // (batch * devices) if drop else math.ceil(records / (batch * devices))
    an_epoch = max(batches // accumulation + int(batches % accumulation > 0), 1)  # as Trainer has it
    assert lint_recipe(recipe, records, devices=devices).steps == math.ceil(epochs * an_epoch)


def test_all_names_and_defaults_are_those_of_transformers():
    theirs = {one.name: one.default for one in fields(TrainingArguments)}
    assert set(theirs) == KNOWN
    for name, value in DEFAULTS.items():
        if name in theirs and theirs[name] is not MISSING:
            there = theirs[name]
            assert str(getattr(there, "value", there)) == str(value), name
    assert set(DEFAULTS) - set(theirs) == {"warmup_ratio", "early_stopping_patience"}


def test_every_field_of_ours_that_counts_steps_is_read():
    for changes, attribute in (({"warmup_steps": 7, "warmup_ratio": None}, "warmup"), ({"batch_size": 8}, "steps"),
                               ({"eval_every": 9}, "evaluations"), ({"checkpoint_every": 9}, "checkpoints")):
        changed = lint_recipe(replace(SOUND, **changes), 1000)
        assert getattr(changed, attribute) != getattr(lint_recipe(SOUND, 1000), attribute)


OURS = [
    ({"max_steps": 20, "epochs": None}, 1000, "warning", "Not all records are seen. 20 steps of 16 take 320 of 1000."),
    ({"max_steps": 20, "epochs": None}, 1000, "warning", "There are only 20 steps."),
    ({"epochs": 12}, 1000, "note", "Each record is seen 12 times."),
    ({}, 1000, "note", "The last step of each epoch is smaller than the others. It takes 8 of 16 records."),
    ({}, 1001, "note", "its last micro-batch holds 1 of 4"),
    ({"accumulation": 400}, 1000, "warning", "Accumulation is longer than an epoch. An epoch has 250 micro-batches"),
    ({"warmup_ratio": None, "warmup_steps": 500}, 1000, "error", "never gets past its warm-up. Warm-up takes 500 "
                                                                 "steps, and there are 189. Take 18 steps."),
    ({"warmup_ratio": 0.6}, 1000, "warning", "Warm-up takes 60% of the training."),
    ({"checkpoint_every": None}, 1000, "note", "No checkpoint is due while it trains."),
    ({"checkpoint_every": 500}, 1000, "error", "No checkpoint is ever due."),
    ({"eval_every": 200, "patience": None}, 1000, "warning", "No evaluation is ever due before the end. Every 200"),
    ({"eval_every": None, "patience": None}, 1000, "warning", "Held-out loss is measured after the last step alone."),
    ({"patience": 9}, 1000, "error", "never act. It takes a best evaluation and 9 after it, 10 in all"),
    ({"eval_every": "epoch"}, 1000, "error", "Early stopping can never act."),
    ({"eval_every": 63, "patience": 2}, 1008, "error", "before the last step; 2 are due."),
    ({"learning_rate": 2e-2}, 1000, "warning", "rate 0.02 is above what lora takes. In use are 2e-05 to 0.002"),
    ({"learning_rate": 2e-6}, 1000, "warning", "The learning rate 2e-06 is below what lora takes."),
    ({"optimizer": "lion", "learning_rate": 1e-3}, 1000, "warning", "rate 0.001 is above what lora takes."),
]


@pytest.mark.parametrize("changes, records, level, words", OURS)
def test_what_a_recipe_never_reaches_is_found(changes, records, level, words):
    report = lint_recipe(replace(SOUND, **changes), records, method="lora")
    assert any(one.level == level and words in str(one) for one in report.findings), str(report)


def test_early_stopping_can_act_when_one_evaluation_is_left_before_the_end():
    assert "Early stopping can never act." not in whats(lint_recipe(replace(SOUND, eval_every=47), 1000))  # 188 of 189
    assert "Early stopping can never act." in whats(lint_recipe(replace(SOUND, eval_every=48), 1000))


THEIRS = [
    ({"evaluation_strategy": "epoch"}, "warning", "evaluation_strategy is an older name."),
    ({"warmup_ratio": 0.03, "warmup_steps": 0}, "warning", "Write warmup_steps=0.03: below 1 it is a share."),
    ({"lr_scheduler_type": "constant"}, "error", "There is no warm-up at all."),
    ({"max_steps": 50}, "note", "num_train_epochs does nothing."),
    ({"eval_steps": 50}, "error", "eval_steps does nothing."),
    ({"load_best_model_at_end": True}, "error", "load_best_model_at_end is refused."),
    ({"early_stopping_patience": 3}, "warning", "The best weights are not loaded at the end."),
    ({"early_stopping_patience": 3}, "error", "Early stopping can never act. There are no evaluations."),
    ({"dataloader_drop_last": True, "per_device_train_batch_size": 7}, "note", "6 records of each epoch are left out."),
    ({"optim": "paged_lion_8bit", "learning_rate": "1e-3"}, "warning", "is above what qlora takes."),
]


@pytest.mark.parametrize("changes, level, words", THEIRS)
def test_what_a_recipe_for_transformers_does_otherwise_than_it_reads_is_found(changes, level, words):
    report = lint_recipe(FAMOUS | changes, 1000, method="qlora")
    assert any(one.level == level and words in str(one) for one in report.findings), str(report)


@pytest.mark.parametrize("changes, attribute, value", [
    ({"warmup_steps": 0.1}, "warmup", 19), ({"warmup_steps": 0, "warmup_ratio": "0.05"}, "warmup", 10),
    ({"warmup_steps": 20, "warmup_ratio": 0.5}, "warmup", 20),
    ({"eval_strategy": "steps", "eval_steps": 0.25}, "evaluations", (48, 96, 144)),
    ({"eval_strategy": "epoch"}, "evaluations", (63, 126, 189)),
    ({"eval_strategy": "steps", "logging_steps": 60}, "evaluations", (60, 120, 180)),
    ({"save_strategy": "epoch"}, "checkpoints", (63, 126, 189)), ({"save_strategy": False}, "checkpoints", ()),
    ({"save_strategy": "best"}, "checkpoints", ()), ({"max_steps": 400}, "steps", 400),
    ({"num_train_epochs": "2"}, "steps", 126), ({"packing": True, "max_length": 512}, "steps", 189),
])
def test_values_are_read_as_transformers_reads_them(changes, attribute, value):
    assert getattr(lint_recipe(FAMOUS | changes, 1000), attribute) == value


def test_windows_hold_the_rates_to_begin_with():
    for method, (small, large) in LEARNING_RATES.items():
        assert WINDOWS[method][0] <= large <= WINDOWS[method][1]
        for rate, size in ((small, 4_000_000), (large, 7_000_000_000)):
            report = lint_recipe(replace(SOUND, learning_rate=rate), 1008, method=method, total_parameters=size)
            assert report.findings == ()
    tiny = lint_recipe(replace(SOUND, learning_rate=30 * 4e-3), 1008, method="lora", total_parameters=4_000_000)
    assert "above what lora takes" in whats(tiny)[0]


@pytest.mark.parametrize("config, records, named, words", [
    ({"learning_rte": 1}, 10, {}, r"a name in the recipe must be one of transformers' TrainingArguments, got "
                                  r"'learning_rte'\. Did you mean learning_rate\?"),
    ({"learning_rate": "fast"}, 10, {}, r"learning_rate must be a number, 0 or more, got 'fast'\."),
    ({"save_strategy": "step"}, 10, {}, r"save_strategy must be one of no, steps, epoch, best, got 'step'\. Did you"),
    ({"per_device_train_batch_size": 2.5}, 10, {}, r"per_device_train_batch_size must be a whole number, 1 or more"),
    ({"gradient_accumulation_steps": 0}, 10, {}, r"gradient_accumulation_steps must be a whole number, 1 or more"),
    ([], 10, {}, r"config must be a TrainConfig, or a dict with names of TrainingArguments, got \[\]\."),
    (SOUND, 0, {}, r"n_records must be a whole number, 1 or more, got 0\."),
    (SOUND, 10, {"devices": 0}, r"devices must be a whole number, 1 or more, got 0\."),
    (SOUND, 10, {"method": "lore"}, r"method must be one of full, .*, qlora, got 'lore'\. Did you mean lora"),
])
def test_what_is_no_recipe_is_refused(config, records, named, words):
    with pytest.raises(Refusal, match=words):
        lint_recipe(config, records, **named)
