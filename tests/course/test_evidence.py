"""Evidence of learning: every way in which a training can miss what it was meant to do is seen."""

import pytest
import torch
from torch import nn

from ftkit.course import evidence
from ftkit.course.exercise import CheckFailed
from ftkit.errors import Refusal

END = 9
EXAMPLES = [([1, 2, END], [-100, 2, END]), ([1, END, 3], [-100, END, -100])]
BEFORE, AFTER = [2.0, 2.1, 1.9], [1.0, 1.2, 0.9]


def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    made[0].requires_grad_(False)
    return made


@torch.no_grad()
def trained(made):
    for parameter in made[1].parameters():
        parameter.add_(0.5)
    return made


def learned(before, made, **changes):
    given = {"wanted": ["1.weight", "1.bias"], "examples": EXAMPLES, "end_of_turn": END, "losses_before": BEFORE,
             "losses_after": AFTER} | changes
    return evidence.learned(before, made, **given)


def test_a_good_training_gets_five_findings():
    made = model()
    table = learned(evidence.snapshot(made), trained(made))
    assert [row[1] for row in table.rows] == ["yes"] * 5
    assert table.rows[0][2] == "2 tensors, 6 numbers" and "in 2 of 2 examples" in table.rows[3][2]
    assert "by 0.707 to 1 each" in table.rows[2][2]  # two numbers, and four, moved by 0.5


def test_a_frozen_weight_that_moved_by_one_bit_is_seen():
    made = model()
    before = evidence.snapshot(made)
    trained(made)
    with torch.no_grad():
        made[0].weight[0, 0] = torch.nextafter(made[0].weight[0, 0], torch.tensor(9.0))
    with pytest.raises(CheckFailed, match="bit for bit +NO"):
        learned(before, made)


def test_a_trained_weight_that_stayed_is_seen():
    made = model()
    before = evidence.snapshot(made)
    with torch.no_grad():
        made[1].weight.add_(0.5)
    with pytest.raises(CheckFailed, match="has moved +NO +not 1.bias"):
        learned(before, made)


@pytest.mark.parametrize(("changes", "words"), [
    ({"wanted": ["1.weight"]}, "NO +2 tensors where 1 were wanted; first to differ: 1.bias"),
    ({"wanted": ["1.weight", "1.bias", "2.weight"]}, "first to differ: 2.weight"),
    ({"examples": [*EXAMPLES, ([1, 2, END], [-100, 2, -100])]}, "carries loss +NO +in 2 of 3 examples"),
    ({"losses_after": [1.9, 2.2, 1.9]}, "more than chance +NO"),
    ({"losses_after": [3.0, 3.0, 3.0]}, r"more than chance +NO +\+1.000 nats"),
])
def test_each_other_failing_is_seen(changes, words):
    made = model()
    with pytest.raises(CheckFailed, match=words):
        learned(evidence.snapshot(made), trained(made), **changes)


def test_a_snapshot_without_anything_trained_is_refused():
    made = model().requires_grad_(False)
    with pytest.raises(Refusal, match="before must be a snapshot of a model with trainable weights"):
        learned(evidence.snapshot(made), made)
