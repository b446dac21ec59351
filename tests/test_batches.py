"""Every example once, alike lengths together, packed samples apart."""

import pytest
import torch

from ftkit import chat
from ftkit.batches import (
    BATCHES_PER_POOL,
    IGNORED,
    collate,
    collate_packed,
    length_buckets,
    packed_rows,
    sequential,
    shuffled,
)
from ftkit.errors import Refusal

LENGTHS = [int(n) for n in torch.randint(1, 200, (997,), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("order", [sequential, shuffled, length_buckets])
def test_every_index_comes_once_an_epoch_and_one_batch_at_most_is_short(order):
    batches = order(LENGTHS, 16, 3, 0)
    assert sorted(index for batch in batches for index in batch) == list(range(len(LENGTHS)))
    assert sorted(len(batch) for batch in batches)[1:] == [16] * (len(LENGTHS) // 16)


@pytest.mark.parametrize("order", [shuffled, length_buckets])
def test_the_order_is_decided_by_seed_and_epoch_alone(order):
    first = order(LENGTHS, 8, 5, 2)
    torch.rand(3)
    assert order(LENGTHS, 8, 5, 2) == first
    assert order(LENGTHS, 8, 5, 3) != first
    assert order(LENGTHS, 8, 6, 2) != first


def test_buckets_pad_far_less_than_a_shuffled_order():
    def padded(batches):
        return sum(max(LENGTHS[index] for index in batch) * len(batch) for batch in batches)

    assert padded(length_buckets(LENGTHS, 16, 0, 0)) < 1.05 * sum(LENGTHS) < padded(shuffled(LENGTHS, 16, 0, 0)) / 1.5


def test_buckets_do_not_run_from_long_to_short_nor_repeat_their_companions():
    epochs = [length_buckets(LENGTHS, 16, 0, epoch) for epoch in range(2)]
    sizes = [LENGTHS[batch[0]] for batch in epochs[0]]
    assert sizes != sorted(sizes) and sizes != sorted(sizes, reverse=True)
    assert len(LENGTHS) > 16 * BATCHES_PER_POOL  # more than one pool, so that companions can change
    assert {frozenset(batch) for batch in epochs[0]} != {frozenset(batch) for batch in epochs[1]}


def test_packed_rows_hold_every_example_once_within_the_bound_of_first_fit_decreasing():
    rows = packed_rows(LENGTHS, 256)
    assert sorted(index for row in rows for index in row) == list(range(len(LENGTHS)))
    assert all(sum(LENGTHS[index] for index in row) <= 256 for row in rows)
    assert len(rows) <= 11 / 9 * -(-sum(LENGTHS) // 256) + 1


def test_each_example_goes_into_the_first_row_with_room():
    lengths, room, rows = [7, 5, 4, 3, 2, 2, 1], [], []
    for index, length in enumerate(lengths):  # first fit written the slow way
        place = next((row for row, left in enumerate(room) if left >= length), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(10)
        rows[place].append(index)
        room[place] -= length
    assert packed_rows(lengths, 10) == rows


def test_rows_are_padded_on_the_right_with_ignored_labels():
    batch = collate([([1, 2, 3], [-100, 2, 3]), ([4], [4])], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch.labels.tolist() == [[-100, 2, 3], [4, -100, -100]]
    assert (batch.real_tokens, batch.label_tokens) == (4, 2)  # the 4 stands first in its row: nothing predicts it
    assert list(batch.model_inputs()) == ["input_ids"]


def test_a_packed_row_says_who_is_who():
    batch = collate_packed([[([1, 2], [1, 2]), ([3, 4, 5], [3, 4, 5])], [([6], [6])]], pad_id=0, seq_len=8)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0]]
    assert batch.labels.tolist() == [[-100, 2, -100, 4, 5], [-100] * 5]
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 2, 3]]
    assert batch.segment_ids.tolist() == [[0, 0, 1, 1, 1], [0, -1, -1, -1, -1]]
    assert (batch.real_tokens, batch.label_tokens) == (6, 3)


def test_the_mask_of_a_packed_row_is_causal_inside_each_sample_and_closed_between_them():
    batch = collate_packed([[([1, 2], [1, 2]), ([3, 4], [3, 4])]], pad_id=0, seq_len=4)
    visible = batch.model_inputs("sdpa")["attention_mask"]
    assert visible[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    added = batch.model_inputs("eager", torch.bfloat16)["attention_mask"]
    assert added.dtype == torch.bfloat16
    assert torch.equal(added == 0, visible) and (added[~visible] == torch.finfo(torch.bfloat16).min).all()
    assert "attention_mask" not in batch.model_inputs("flash_attention_2")


def test_a_batch_moves_whole():
    batch = collate_packed([[([1, 2], [1, 2])]], pad_id=0, seq_len=4)
    moved = batch.to("meta")
    assert {moved.input_ids.device.type, moved.labels.device.type, moved.segment_ids.device.type} == {"meta"}
    assert moved.real_tokens == 2
    assert collate([([1], [1])], pad_id=0).to("cpu").segment_ids is None


def test_the_label_without_loss_is_the_one_that_chat_writes():
    assert IGNORED == chat.IGNORED == torch.nn.CrossEntropyLoss().ignore_index


@pytest.mark.parametrize(("call", "words"), [
    (lambda: length_buckets([], 4, 0, 0), "lengths must be those of at least one example, got .*file empty"),
    (lambda: shuffled([3], 0, 0, 0), "batch_size must be 1 or more, got 0. Take 16"),
    (lambda: length_buckets([3], 4, -1, 0), "seed must be 0 or more, got -1. Take 0"),
    (lambda: packed_rows([3, 12], 8), "seq_len must be 12 or more, the longest example's tokens, got 8. .*never cut"),
    (lambda: collate([], 0), "examples must be at least one"),
    (lambda: collate([([1, 2], [1])], 0), "example 0 must be token ids and as many labels.*'2 ids and 1 labels'"),
    (lambda: collate([([1], [1]), ([], [])], 0), "example 1 must be token ids and as many labels.*'0 ids"),
    (lambda: collate_packed([[([1, 2], [1, 2])] * 3], 0, 5), "a packed row must be 5 tokens or fewer, got 6"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
