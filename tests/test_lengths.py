"""Length statistics: counted by hand, and what truncation costs is what the encoder then does."""

import numpy as np
import pytest

from ftkit import batches, chat, hub, lengths
from ftkit.errors import Refusal
from ftkit.tiny import clinic


def example(prompt, answer, after=0):
    labels = [-100] * prompt + [1] * answer + [-100] * after
    return chat.Example([1] * len(labels), labels)


@pytest.fixture(scope="module")
def encoded():
    _, tokenizer = hub.load_model()
    records = clinic.records("held_out")
    return records, tokenizer, chat.encode_all(records, tokenizer)[0]


def test_prompt_and_answer_are_counted_apart():
    measured = lengths.measure([example(3, 2, after=1), example(10, 30)])
    assert measured.prompt.tolist() == [4, 10] and measured.answer.tolist() == [2, 30]
    assert measured.whole.tolist() == [6, 40]
    assert measured.label_places[:2].tolist() == [3, 4] and measured.label_records.tolist() == [0] * 2 + [1] * 30


def test_the_table_says_count_mean_quantiles_and_longest():
    measured = lengths.measure([example(1, count) for count in range(1, 101)])
    rows = [line.split() for line in str(measured).splitlines()[1:]]
    assert rows[0] == ["prompt", "100", "1.0", "1", "1", "1", "1", "1"]
    assert rows[1] == ["answer", "100", "50.5", "50", "90", "95", "99", "100"]
    assert rows[2] == ["whole", "100", "51.5", "51", "91", "96", "100", "101"]


@pytest.mark.parametrize(("keep", "multiple", "context", "chosen"), [
    (0.9, 8, None, 96), (0.9, 16, None, 96), (0.9, 1, None, 91), (1, 8, None, 104), (1, 8, 100, 100),
    (0.01, 8, None, 8)])
def test_the_choice_is_the_smallest_multiple_that_keeps_the_share_whole(keep, multiple, context, chosen):
    measured = lengths.measure([example(1, count) for count in range(1, 101)])
    seq_len = lengths.choose(measured, keep, multiple, context)
    assert seq_len == chosen
    if context is None:
        assert (measured.whole <= seq_len).mean() >= keep > (measured.whole <= seq_len - multiple).mean()


@pytest.mark.parametrize("seq_len", [45, 60, 70, 400])
def test_what_a_length_costs_is_what_the_encoder_does_with_it(encoded, seq_len):
    records, tokenizer, examples = encoded
    row, = lengths.costs(lengths.measure(examples), [seq_len])
    cut, report = chat.encode_all(records, tokenizer, seq_len)
    assert (row.whole + row.cut, row.cut, row.dropped) == (report["kept"], report["truncated"], report["dropped"])
    trained = [sum(label != -100 for one in some for label in one.labels) for some in (cut, examples)]
    assert row.lost == pytest.approx(1 - trained[0] / trained[1])


def test_a_length_that_reaches_no_answer_drops_all_and_says_so():
    row, = lengths.costs(lengths.measure([example(9, 2)]), [9])
    assert row[:5] == (9, 0, 0, 1, 1.0)
    assert lengths.cost_table([row]).splitlines()[1].split(maxsplit=5)[5].split("  ")[0] == "none left"


def test_padding_is_that_of_the_batches_that_would_be_trained_on(encoded):
    examples = encoded[2]
    row, = lengths.costs(lengths.measure(examples), [256], batch_size=8, seed=3)
    counts = [len(one.input_ids) for one in examples]

    def padding(all_batches):
        made = [batches.collate([examples[place] for place in batch], 0) for batch in all_batches]
        return 1 - sum(batch.real_tokens for batch in made) / sum(batch.input_ids.numel() for batch in made)

    assert row.padding_plain == pytest.approx(padding(batches.shuffled(counts, 8, 3, 0)))
    assert row.padding_buckets == pytest.approx(padding(batches.length_buckets(counts, 8, 3, 0)))
    rows = [[examples[place] for place in row] for row in batches.packed_rows(counts, 256)]
    made = [batches.collate_packed(rows[start:start + 8], 0, 256) for start in range(0, len(rows), 8)]
    assert row.padding_packed == pytest.approx(
        1 - sum(batch.real_tokens for batch in made) / sum(batch.input_ids.numel() for batch in made))
    assert row.padding_buckets < row.padding_plain


def test_the_table_of_costs_marks_the_choice_and_goes_from_short_to_long():
    measured = lengths.measure([example(4, 6), example(4, 26), example(20, 5)])
    rows = lengths.costs(measured, [32, 16, 16])
    assert [(row.seq_len, row.whole, row.cut, row.dropped) for row in rows] == [(16, 1, 1, 1), (32, 3, 0, 0)]
    assert rows[0].lost == pytest.approx((14 + 5) / 37) and rows[1].lost == 0
    text = lengths.cost_table(rows, chosen=32).splitlines()
    assert text[1].startswith("16  ") and text[2].split()[:3] == ["32", "<-", "3"]


def test_ten_thousand_records_are_measured_and_costed_in_seconds():
    import time

    counts = np.random.default_rng(0).integers(20, 400, 10_000)
    started = time.process_time()
    measured = lengths.measure([example(int(count) // 2, int(count) // 2) for count in counts])
    lengths.costs(measured, [128, 256, 512])
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda one: lengths.measure([]), "examples must be at least one, got 'none'."),
    (lambda one: lengths.measure([example(3, 1), example(3, 0)]),
     "example 1 must be one with an answer, got 'no token with loss'. Leave it out; chat.encode_all does."),
    (lambda one: lengths.choose(one, keep=0), "keep must be a share above 0, up to 1, got 0. Take 0.99."),
    (lambda one: lengths.choose(one, keep=1.1), "keep must be a share above 0, up to 1, got 1.1."),
    (lambda one: lengths.choose(one, multiple=0), "multiple must be 1 or more, got 0."),
    (lambda one: lengths.choose(one, context=0), "context must be 1 or more, got 0."),
    (lambda one: lengths.costs(one, []), r"candidates must be at least one seq_len, each 1 or more, got \[\]."),
    (lambda one: lengths.costs(one, [0, 8]), r"candidates must be at least one seq_len, each 1 or more, got \[0, 8\]."),
])
def test_what_cannot_be_measured_or_chosen_is_refused(call, sentence):
    with pytest.raises(Refusal, match=sentence):
        call(lengths.measure([example(3, 2)]))
