import json
import math
from dataclasses import asdict

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from ftkit.errors import Refusal
from ftkit.train.config import TrainConfig
from ftkit.train.schedule import rate, warmup_steps


@pytest.mark.parametrize("changes, words", [
    ({"learning_rate": 0}, r"learning_rate must be a number above 0, got 0\. LoRA often takes 1e-4 to 1e-3\."),
    ({"learning_rate": "1e-3"}, r"learning_rate must be a number above 0, got '1e-3'\."),
    ({"learning_rate": math.nan}, r"learning_rate must be a number above 0, got nan\."),
    ({"learning_rate": True}, r"learning_rate must be a number above 0, got True\."),
    ({"max_steps": 0}, r"max_steps must be a whole number, 1 or more, or None, got 0\. Take 1 to try it\."),
    ({"max_steps": None}, r"max_steps or epochs must be given, one of the two, got \{'max_steps': None, 'ep"),
    ({"epochs": 2}, r"max_steps or epochs must be given, one of the two, got .*Take epochs=3 to begin with\."),
    ({"max_steps": None, "epochs": 0.5}, r"epochs must be a whole number, 1 or more, or None, got 0\.5\."),
    ({"batch_size": 0}, r"batch_size must be a whole number, 1 or more, got 0\."),
    ({"batch_size": None}, r"batch_size must be a whole number, 1 or more, got None\."),
    ({"accumulation": 0}, r"accumulation must be a whole number, 1 or more, got 0\."),
    ({"warmup_steps": -1}, r"warmup_steps must be a whole number, 0 or more, or None, got -1\."),
    ({"warmup_steps": 11}, r"warmup_steps must be 10 \(max_steps\) or less, got 11\. Take a tenth of max_steps\."),
    ({"warmup_steps": 1, "warmup_ratio": 0.1}, r"warmup_steps or warmup_ratio must be given, not both, got .*Leave"),
    ({"warmup_ratio": 1.1}, r"warmup_ratio must be a share from 0 to 1, got 1\.1\. Take 0\.1\."),
    ({"schedule": "linaer"}, r"schedule must be one of constant, linear, cosine, got 'linaer'\. Did you mean linear\?"),
    ({"precision": "fp8"}, r"precision must be one of no, bf16, fp16, got 'fp8'\."),
    ({"matmul_precision": "low"}, r"matmul_precision must be one of auto, highest, high, medium, got 'low'\."),
    ({"grouping": "bucket"}, r"grouping must be one of buckets, .*Did you mean buckets\?"),
    ({"grouping": "packed"}, r"seq_len must be given with grouping='packed', got None\. Take twice the longest"),
    ({"weight_decay": -0.1}, r"weight_decay must be a number, 0 or more, got -0\.1\."),
    ({"min_delta": math.inf}, r"min_delta must be a number, 0 or more, got inf\."),
    ({"max_grad_norm": 0}, r"max_grad_norm must be a number above 0, or None, got 0\. Take 1\.0\."),
    ({"patience": 2}, r"eval_every must be given together with patience, got None\. Take 'epoch', or a tenth of all"),
    ({"seed": -1}, r"seed must be a whole number, 0 or more, got -1\. Take 1 to try it\."),
    ({"activation_checkpointing": "yes"}, r"activation_checkpointing must be True, False or 'every:<2 or more>', got "
                                          r"'yes'\. True does so in all layers, 'every:2' in every second one\."),
    ({"activation_checkpointing": "every:1"}, r"activation_checkpointing must be True, False or .*, got 'every:1'"),
    ({"activation_checkpointing": 2}, r"activation_checkpointing must be True, False or .*, got 2"),
    ({"logits": "chunks"}, r"logits must be one of at_labels, chunked, all, got 'chunks'\. Did you mean chunked\?"),
    ({"packed_attention": "varlen"}, r"packed_attention must be one of mask, by_segment, got 'varlen'\."),
    ({"packed_attention": "by_segment"}, r"packed_attention must be 'mask' unless grouping='packed', got "
                                         r"'by_segment'\. Take grouping='packed' and a seq_len with it\."),
    ({"quantised_products": "few"}, r"quantised_products must be one of as_built, fewest, kept, got 'few'\. Did you "
                                    r"mean fewest\?"),
    ({"compiled": "yes"}, r"compiled must be True or False, got 'yes'\."),
])
def test_a_setting_out_of_range_is_refused(changes, words):
    with pytest.raises(Refusal, match=words):
        TrainConfig(**{"learning_rate": 1e-3, "max_steps": 10} | changes)


def test_settings_come_back_from_json_as_they_were():
    config = TrainConfig(1e-3, epochs=3, warmup_ratio=0.1, max_grad_norm=None, patience=2, eval_every=5)
    assert TrainConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("schedule, theirs", [("linear", get_linear_schedule_with_warmup),
                                              ("cosine", get_cosine_schedule_with_warmup)])
def test_the_rates_are_those_of_transformers_but_for_a_first_step_that_does_something(schedule, theirs):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    scheduler = theirs(optimizer, num_warmup_steps=5, num_training_steps=20)
    expected = []
    for _ in range(20):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    ours = [rate(step, 20, 2.0, 5, schedule) for step in range(1, 21)]
    assert ours[5:] == pytest.approx(expected[5:])  # after the warm-up: the same
    assert ours[:5] == pytest.approx(expected[1:6])  # their first rate is 0, so ours are one ahead


def test_a_constant_schedule_stays_at_its_highest():
    assert [rate(step, 4, 1.0, 2, "constant") for step in (1, 2, 3, 4)] == [0.5, 1.0, 1.0, 1.0]


def test_a_warm_up_may_last_to_the_end():
    assert [rate(step, 2, 1.0, 2, "cosine") for step in (1, 2)] == [0.5, 1.0]


def test_a_share_of_warm_up_is_rounded_up():
    assert [warmup_steps(100, None, 0.05), warmup_steps(10, None, 0.05), warmup_steps(10, 3, None),
            warmup_steps(10, None, None)] == [5, 1, 3, 0]
