"""Nine to one, the same for the same seed, and no question on both sides."""

import pytest

from ftkit.data.splitting import duplicate_prompts, split
from ftkit.errors import Refusal


def records(*asked):
    return [{"instruction": text, "input": "", "output": f"answer {place}"} for place, text in enumerate(asked)]


def asked(part):
    return [record["instruction"] for record in part]


def test_one_in_ten_is_held_out_in_the_old_order_and_nothing_is_lost():
    whole = records(*(f"q{n}" for n in range(200)))
    train, held_out = split(whole, seed=3)
    assert (len(train), len(held_out)) == (180, 20)
    assert sorted(train + held_out, key=whole.index) == whole
    assert train == [record for record in whole if record in train]


def test_the_seed_alone_decides_what_is_held_out():
    whole = records(*(f"q{n}" for n in range(100)))
    assert split(whole, seed=1) == split(list(whole), seed=1)
    assert split(whole, seed=1) != split(whole, seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_records_that_ask_the_same_stay_on_one_side(seed):
    whole = records(*(f"q{n % 15}" for n in range(60)), "q1 ", " q2")
    train, held_out = split(whole, 0.2, seed)
    assert not {text.strip() for text in asked(train)} & {text.strip() for text in asked(held_out)}
    assert len(held_out) <= 12


def test_conversations_are_compared_by_all_that_comes_before_the_last_answer():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": "more"}, {"role": "assistant", "content": "b"}]
    other = [talk[0], {"role": "assistant", "content": "c"}, *talk[2:]]
    again = [*talk[:3], {"role": "assistant", "content": "d"}]
    assert duplicate_prompts([{"messages": talk}, {"messages": other}, {"messages": again}]) == 1
    plain = {"instruction": "q", "output": "a"}
    assert duplicate_prompts([plain, plain | {"system": "s"}]) == 0


@pytest.mark.parametrize(("texts", "share", "sizes"), [
    (["a", "b"], 0.1, (1, 1)),
    (["a", "b"], 0.9, (1, 1)),
    (["a"] * 5 + ["b"] * 3, 0.1, (5, 3)),
    (["a"] * 9 + ["b"], 0.1, (9, 1)),
])
def test_neither_side_is_ever_empty(texts, share, sizes):
    for seed in range(5):
        train, held_out = split(records(*texts), share, seed)
        assert (len(train), len(held_out)) == sizes


@pytest.mark.parametrize("share", [0, 1, -0.1, 10, float("nan")])
def test_a_share_outside_nought_to_one_is_refused(share):
    with pytest.raises(Refusal, match=f"held_out_share must be between 0 and 1, got {share}. Take 0.1 to begin with."):
        split(records("a", "b"), share)


@pytest.mark.parametrize(("texts", "count"), [([], 0), (["a"], 1), (["a", "a"], 1)])
def test_fewer_than_two_prompts_cannot_be_split(texts, count):
    with pytest.raises(Refusal, match=f"records must be at least two different prompts, to split them, got {count}."):
        split(records(*texts))
