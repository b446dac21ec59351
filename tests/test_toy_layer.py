import pytest
import torch

from ftkit.errors import Refusal
from ftkit.toy_layer import STRENGTHS, WIDTH, fit


def test_a_layer_of_the_hidden_rank_finds_what_a_smaller_one_cannot():
    small, enough = (fit(rank=rank, alpha=2 * rank, learning_rate=0.04) for rank in (1, len(STRENGTHS)))
    assert enough["held_out_loss"] < small["held_out_loss"] / 3
    assert enough["trainable"] == 2 * WIDTH * 4


def test_it_is_the_same_again_and_another_with_another_seed():
    assert fit(seed=1, steps=5) == fit(seed=1, steps=5) != fit(seed=2, steps=5)


def test_dropout_draws_from_its_seed_and_leaves_the_callers_generator_alone():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    found = fit(dropout=0.2, steps=5)
    assert torch.equal(torch.rand(3), want) and found == fit(dropout=0.2, steps=5)
    assert found["held_out_loss"] != fit(steps=5)["held_out_loss"]


def test_without_steps_nothing_is_added_and_the_whole_update_is_missed():
    found = fit(steps=0)
    assert found["addition_norm"] == 0.0 and found["held_out_loss"] > fit()["held_out_loss"] > 0


def test_what_scales_the_addition_alike_trains_alike():
    one, other = fit(rank=4, alpha=8.0, steps=6), fit(rank=4, alpha=4.0, use_rslora=True, steps=6)
    assert one == other != fit(rank=4, alpha=8.0, use_rslora=True, steps=6)


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(Refusal, match="rank must be a whole number, 1 or more"):
        fit(rank=0)
