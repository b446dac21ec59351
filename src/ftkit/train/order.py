"""Which examples make which step: checked, grouped and collated. Knows nothing about models or gradients.

Everything follows from the examples, the settings and the number of a step, so a training that starts in the middle
sees what it would have seen.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftkit import batches
from ftkit.errors import refusal
from ftkit.train.config import TrainConfig


@dataclass(frozen=True)
class Step:
    """The micro-batches of one optimizer step, as lists of row numbers."""

    number: int
    epoch: int
    rows: list[list[int]]
    ends_epoch: bool = False


class Order:
    """The examples of a training and the order of their steps.

    Args:
        examples: pairs (token ids, labels), as `chat.encode` makes them.
        config: batch size, accumulation, grouping, seq_len, seed, and how long.
        pad_id: the token that fills rows.

    Raises:
        Refusal: there are no examples, or one is malformed, too long or carries no loss.
    """

    def __init__(self, examples: Sequence, config: TrainConfig, pad_id: int):
        self._examples, self._config, self._pad_id = examples, config, pad_id
        self.label_tokens = _checked(examples, config.seq_len)  # of each example
        lengths = [len(ids) for ids, _ in examples]
        packed = config.grouping == "packed"
        self._packs = batches.packed_rows(lengths, config.seq_len) if packed else None
        self._sizes = [sum(lengths[one] for one in pack) for pack in self._packs] if packed else lengths

    @cached_property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        if self._config.max_steps is not None:
            return self._config.max_steps
        return sum(len(self._epoch(epoch)) for epoch in range(self._config.epochs))

    def steps(self, done: int = 0) -> Iterator[Step]:
        """The steps that come after the first `done`."""
        number, epoch = 0, 0
        while number < self.total_steps:
            steps = self._epoch(epoch)
            for place, rows in enumerate(steps, start=1):
                number += 1
                if done < number <= self.total_steps:
                    yield Step(number, epoch, rows, ends_epoch=place == len(steps))
            epoch += 1

    def batch(self, rows: list[int]) -> batches.Batch:
        """The tensors of one micro-batch."""
        if self._packs is None:
            return batches.collate([self._examples[row] for row in rows], self._pad_id)
        packs = [[self._examples[one] for one in self._packs[row]] for row in rows]
        return batches.collate_packed(packs, self._pad_id, self._config.seq_len)

    def labels_in(self, rows: list[int]) -> int:
        """How many tokens of a micro-batch carry loss."""
        examples = rows if self._packs is None else [one for row in rows for one in self._packs[row]]
        return sum(self.label_tokens[one] for one in examples)

    def fingerprint(self) -> str:
        """A hash of all examples, in their order."""
        digest = hashlib.sha256()
        for ids, labels in self._examples:
            digest.update(np.asarray([len(ids), *ids, *labels], dtype=np.int64).tobytes())
        return digest.hexdigest()

    def _epoch(self, epoch: int) -> list[list[list[int]]]:
        config = self._config
        group = {"buckets": batches.length_buckets, "sequential": batches.sequential}.get(
            config.grouping, batches.shuffled)
        rows = group(self._sizes, config.batch_size, config.seed, epoch)
        return [rows[start : start + config.accumulation] for start in range(0, len(rows), config.accumulation)]


def held_out_order(examples: Sequence, batch_size: int, pad_id: int) -> Order:
    """Held-out examples in batches of like length, each once.

    Raises:
        Refusal: there are none, or one is malformed or carries no loss.
    """
    _checked(examples, None, "held-out ")
    settings = TrainConfig(learning_rate=1.0, epochs=1, batch_size=batch_size, grouping="sequential")
    return Order(sorted(examples, key=lambda example: len(example[0])), settings, pad_id)


def _checked(examples: Sequence, seq_len: int | None, kind: str = "") -> list[int]:
    if not len(examples):
        raise refusal(f"{kind}examples", "at least one", list(examples), "Is the file empty?")
    counts = []
    for place, (ids, labels) in enumerate(examples):
        if len(ids) != len(labels):
            raise refusal(f"{kind}example {place}", "as many labels as token ids", f"{len(labels)} and {len(ids)}",
                          "Encode it with chat.encode.")
        if seq_len is not None and len(ids) > seq_len:
            raise refusal(f"{kind}example {place}", f"{seq_len} tokens (seq_len) or fewer", len(ids),
                          "Raise seq_len, or encode with chat.encode_all, which shortens.")
        counts.append(sum(label >= 0 for label in labels[1:]))  # nothing predicts the first token
        if not counts[-1]:
            raise refusal(f"{kind}example {place}", "one with a token that carries loss", "none",
                          "Leave it out, or raise seq_len if its answer was cut off.")
    return counts
