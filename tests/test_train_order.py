from collections import Counter

import pytest

from ftkit.errors import Refusal
from ftkit.train.config import TrainConfig
from ftkit.train.order import Order, held_out_order

EXAMPLES = [([place] * (2 + place % 7), [-100] + [place] * (1 + place % 7)) for place in range(23)]


def order_of(**changes):
    return Order(EXAMPLES, TrainConfig(**{"learning_rate": 1.0, "epochs": 2, "batch_size": 4} | changes), pad_id=0)


@pytest.mark.parametrize("grouping", ["buckets", "shuffled", "sequential", "packed"])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_every_example_is_seen_once_an_epoch(grouping, accumulation):
    order = order_of(grouping=grouping, accumulation=accumulation, seq_len=16)
    seen = {0: Counter(), 1: Counter()}
    for step in order.steps():
        for rows in step.rows:
            batch = order.batch(rows)
            pairs = zip(batch.input_ids.flatten().tolist(), batch.labels.flatten().tolist(), strict=True)
            seen[step.epoch].update(label for _, label in pairs if label >= 0)
            assert order.labels_in(rows) == batch.label_tokens
    assert seen[0] == seen[1] == Counter({place: 1 + place % 7 for place in range(23)})


@pytest.mark.parametrize("grouping", ["buckets", "packed"])
def test_steps_from_the_middle_are_those_of_the_whole(grouping):
    order = order_of(grouping=grouping, accumulation=2, seq_len=16)
    everything = list(order.steps())
    assert len(everything) == order.total_steps
    for done in range(order.total_steps + 1):
        assert list(order_of(grouping=grouping, accumulation=2, seq_len=16).steps(done)) == everything[done:]


def test_a_number_of_steps_goes_through_as_many_epochs_as_it_needs():
    steps = list(order_of(epochs=None, max_steps=15).steps())
    assert [step.number for step in steps] == list(range(1, 16)) and steps[-1].epoch == 2  # six batches an epoch


def test_the_last_step_of_an_epoch_takes_what_is_left():
    assert [len(step.rows) for step in order_of(accumulation=4, epochs=1).steps()] == [4, 2]


def test_a_fingerprint_changes_with_any_token_and_any_label():
    first = order_of().fingerprint()
    for changed in (([9, 1], [-100, 1]), ([0, 1], [-100, 0]), ([0, 0, 0], [-100, 0, 0])):
        other = Order([changed, *EXAMPLES[1:]], TrainConfig(1.0, epochs=1), 0)
        assert other.fingerprint() != first


def test_held_out_examples_go_from_short_to_long():
    lengths = [len(EXAMPLES[row][0]) for row in range(23)]
    order = held_out_order(EXAMPLES, 4, 0)
    widths = [order.batch(rows).input_ids.shape[1] for step in order.steps() for rows in step.rows]
    assert widths == sorted(widths) and widths[-1] == max(lengths)


@pytest.mark.parametrize("examples, seq_len, words", [
    ([], None, r"examples must be at least one, got \[\]\. Is the file empty\?"),
    ([([1, 2], [2])], None, r"example 0 must be as many labels as token ids, got '1 and 2'\. Encode it with chat"),
    ([([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3])], 2, r"example 1 must be 2 tokens \(seq_len\) or fewer, got 3\. Raise"),
    ([([1, 2], [-100, -100])], None, r"example 0 must be one with a token that carries loss, got 'none'\. Leave"),
    ([([1, 2], [1, -100])], None, r"example 0 must be one with a token that carries loss"),
])
def test_examples_that_cannot_be_learned_from_are_refused(examples, seq_len, words):
    with pytest.raises(Refusal, match=words):
        Order(examples, TrainConfig(1.0, epochs=1, seq_len=seq_len), 0)
    if seq_len is None:
        with pytest.raises(Refusal, match=f"held-out {words}"):
            held_out_order(examples, 4, 0)
