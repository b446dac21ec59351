"""How long records are, which `seq_len` suits them, and what each would cost in answers lost and padding spent.

Knows nothing about text or tokenizers: an example is ids and labels, as `chat.encode` makes them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ftkit import batches
from ftkit.errors import refusal
from ftkit.tables import aligned

IGNORED = -100
QUANTILES = (0.5, 0.9, 0.95, 0.99)
BATCH = 16  # rows, where padding is estimated


@dataclass(frozen=True, repr=False, eq=False)
class Lengths:
    """Tokens of every record. Printed, it is a table of count, mean, quantiles and the longest.

    Shapes: `prompt`, `answer` and `whole` are (records,); `label_places` and `label_records` are (label tokens,).

    Args:
        prompt: tokens without loss: what is asked, the marks of turns, and all that follows the last answer.
        answer: tokens with loss.
        whole: both.
        label_places: where in its record each token with loss stands, from 0.
        label_records: which record it belongs to.
    """

    prompt: np.ndarray
    answer: np.ndarray
    whole: np.ndarray
    label_places: np.ndarray
    label_records: np.ndarray

    def __repr__(self):
        headers = ["tokens", "records", "mean", *(f"{share:.0%} have at most" for share in QUANTILES), "longest"]
        return aligned(headers, [[name, f"{len(counts):,}", f"{counts.mean():.1f}",
                                  *(f"{_quantile(counts, share):,}" for share in QUANTILES), f"{counts.max():,}"]
                                 for name, counts in (("prompt", self.prompt), ("answer", self.answer),
                                                      ("whole", self.whole))])


class Cost(NamedTuple):
    """What one `seq_len` does to the records.

    `cut` records are shortened and keep a part of their answers; `dropped` ones lose all of it and cannot be trained
    on; `lost` is the share of all label tokens that goes with both. Padding is the share of a batch's tokens that is
    none of any record's: in shuffled batches, in batches of like lengths, and packed; not a number where no record is
    left.
    """

    seq_len: int
    whole: int
    cut: int
    dropped: int
    lost: float
    padding_plain: float
    padding_buckets: float
    padding_packed: float


def measure(examples: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Lengths:
    """The lengths of encoded examples, prompt and answer apart.

    Args:
        examples: pairs (token ids, labels) that were not cut: encode without a `seq_len`.

    Raises:
        Refusal: there are none, or one has no token with loss.

    Example:
        >>> measure([([5, 6, 7], [-100, 6, 7]), ([5, 6], [-100, 6])])
        tokens  records  mean  50% have at most  90% have at most  95% have at most  99% have at most  longest
        prompt  2        1.0   1                 1                 1                 1                 1
        answer  2        1.5   1                 2                 2                 2                 2
        whole   2        2.5   2                 3                 3                 3                 3

    Taught in: 03_data
    """
    examples = list(examples)
    places = [np.flatnonzero(np.asarray(labels) != IGNORED) for _, labels in examples]
    if not places:
        raise refusal("examples", "at least one", "none")
    answer = np.array([len(own) for own in places])
    if not answer.all():
        raise refusal(f"example {int(answer.argmin())}", "one with an answer", "no token with loss",
                      "Leave it out; chat.encode_all does.")
    whole = np.array([len(ids) for ids, _ in examples])
    return Lengths(whole - answer, answer, whole, np.concatenate(places), np.repeat(np.arange(len(places)), answer))


def choose(lengths: Lengths, keep: float = 0.99, multiple: int = 8, context: int | None = None) -> int:
    """The smallest `seq_len` that leaves a share of the records whole, rounded up; at most the model's context.

    Args:
        lengths: of examples that were not cut.
        keep: the share of records to leave whole, above 0, up to 1.
        multiple: of how many tokens it is to be a multiple; tensor cores want 8.
        context: the most tokens the model reads; None for no bound.

    Raises:
        Refusal: a number is out of range.

    Example:
        >>> choose(measure([([1] * n, [-100] + [1] * (n - 1)) for n in range(11, 111)]), keep=0.9)
        104
    """
    if not 0 < keep <= 1:
        raise refusal("keep", "a share above 0, up to 1", keep, "Take 0.99.")
    for name, value in (("multiple", multiple), ("context", context)):
        if value is not None and value < 1:
            raise refusal(name, "1 or more", value)
    needed = -(-_quantile(lengths.whole, keep) // multiple) * multiple
    return needed if context is None else min(needed, context)


def costs(lengths: Lengths, candidates: Iterable[int], batch_size: int = BATCH, seed: int = 0) -> list[Cost]:
    """What each `seq_len` costs, shortest first.

    Args:
        lengths: of examples that were not cut.
        candidates: values of `seq_len`, each 1 or more.
        batch_size: rows of a batch, for the padding.
        seed: of the shuffled batches.

    Raises:
        Refusal: no candidates, or one below 1.

    Taught in: 03_data
    """
    candidates = sorted(set(candidates))
    if not candidates or candidates[0] < 1:
        raise refusal("candidates", "at least one seq_len, each 1 or more", candidates)
    return [_cost(lengths, seq_len, batch_size, seed) for seq_len in candidates]


def cost_table(rows: Sequence[Cost], chosen: int | None = None) -> str:
    """The costs as text in columns, with an arrow at the chosen `seq_len`."""
    headers = ["seq_len", "whole", "cut", "dropped", "label tokens lost", "padding: shuffled", "like lengths", "packed"]
    return aligned(headers, [
        [f"{row.seq_len}{' <-' if row.seq_len == chosen else ''}", f"{row.whole:,}", f"{row.cut:,}", f"{row.dropped:,}",
         *("none left" if math.isnan(share) else f"{share:.1%}" for share in row[4:])] for row in rows])


def _cost(lengths: Lengths, seq_len: int, batch_size: int, seed: int) -> Cost:
    kept_labels = np.bincount(lengths.label_records[lengths.label_places < seq_len], minlength=len(lengths.whole))
    usable = kept_labels > 0
    if not usable.any():
        return Cost(seq_len, 0, 0, len(usable), 1.0, math.nan, math.nan, math.nan)
    short = np.minimum(lengths.whole, seq_len)[usable].tolist()
    whole = int((usable & (lengths.whole <= seq_len)).sum())
    plain, buckets = (_padding([[short[place] for place in batch] for batch in order(short, batch_size, seed, 0)])
                      for order in (batches.shuffled, batches.length_buckets))
    rows = [sum(short[place] for place in row) for row in batches.packed_rows(short, seq_len)]
    packed = _padding([rows[start:start + batch_size] for start in range(0, len(rows), batch_size)])
    return Cost(seq_len, whole, len(short) - whole, int((~usable).sum()),
                1 - float(kept_labels.sum() / len(lengths.label_places)), plain, buckets, packed)


def _padding(rows_by_batch: list[list[int]]) -> float:
    spent = sum(max(rows) * len(rows) for rows in rows_by_batch)
    return 1 - sum(map(sum, rows_by_batch)) / spent


def _quantile(counts: np.ndarray, share: float) -> int:
    """The smallest count that at least this share of records has or stays below."""
    return int(np.quantile(counts, share, method="inverted_cdf"))
