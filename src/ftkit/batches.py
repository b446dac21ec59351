"""Encoded examples to padded, bucketed or packed batches of tensors.

Knows nothing about text, tokenizers, models or losses: an example is a pair of equally long lists, ids and labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ftkit.errors import refusal

IGNORED = -100  # torch's own `ignore_index`: the label of a token that carries no loss
BATCHES_PER_POOL = 50  # how many batches are sorted by length together; more is tidier, fewer is more random


@dataclass(frozen=True)
class Batch:
    """Rows of equal width, padded on the right.

    Right-padded rows need no attention mask: under causal attention a token sees itself and the tokens before it, and
    all padding comes after the last real token. What a padding position computes is garbage that nothing reads, since
    its label is ignored. Without a mask, attention takes its fast path.

    Shapes: `input_ids`, `labels`, `position_ids` and `segment_ids` are (rows, width) of int64.

    Args:
        labels: the label of the token at the same place (not shifted), -100 where it carries no loss.
        position_ids: only for packed rows; starts again at 0 with every sample.
        segment_ids: only for packed rows; which sample of its row a token belongs to, -1 for padding.
        real_tokens: how many tokens are no padding.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor | None = None
    segment_ids: torch.Tensor | None = None
    real_tokens: int = 0

    @property
    def label_tokens(self) -> int:
        """How many tokens carry loss. The first token of a row has nothing before it to be predicted from."""
        return int((self.labels[:, 1:] >= 0).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        names = ("input_ids", "labels", "position_ids", "segment_ids")
        tensors = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})

    def model_inputs(self, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """Keyword arguments for a causal language model of transformers.

        Padded rows need the ids alone. Packed rows need positions and a mask, in the form the attention wants: true
        where it may look for "sdpa"; none for flash and flex attention, which transformers builds from the positions,
        nor for attention "by_segment"; for all others zeros and very negative numbers, which eager attention adds to
        its scores.

        Args:
            attention: the model's attention implementation, as in `model.config._attn_implementation`.
            dtype: the type of an added mask.
        """
        if self.segment_ids is None:
            return {"input_ids": self.input_ids}
        inputs = {"input_ids": self.input_ids, "position_ids": self.position_ids}
        if attention.startswith(("flash", "flex", "by_segment")):
            return inputs
        visible = _same_segment_and_earlier(self.segment_ids)
        if attention != "sdpa":
            visible = torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
                ~visible, torch.finfo(dtype).min)
        return inputs | {"attention_mask": visible}


def sequential(lengths: Sequence[int], batch_size: int, generator_seed: int = 0, epoch: int = 0) -> list[list[int]]:
    """Batches of indices in the order given; the same every epoch.

    Example:
        >>> sequential([5, 9, 2], batch_size=2)
        [[0, 1], [2]]
    """
    _check(lengths, batch_size, generator_seed)
    return _cut(np.arange(len(lengths)), batch_size)


def shuffled(lengths: Sequence[int], batch_size: int, generator_seed: int, epoch: int) -> list[list[int]]:
    """Batches of indices in random order: every index once, decided by seed and epoch alone."""
    _check(lengths, batch_size, generator_seed)
    return _cut(np.random.default_rng([generator_seed, epoch]).permutation(len(lengths)), batch_size)


def length_buckets(lengths: Sequence[int], batch_size: int, generator_seed: int, epoch: int) -> list[list[int]]:
    """Batches of indices whose lengths are alike, in random order: every index once, decided by seed and epoch alone.

    A shuffled order is cut into pools of fifty batches, each pool is sorted by length and cut into batches, and the
    batches are shuffled. So companions change from epoch to epoch, and little is spent on padding.

    Args:
        lengths: tokens of each example.
        batch_size: rows of a batch, 1 or more; one batch may be shorter.
        generator_seed: 0 or more.
        epoch: 0 or more.

    Raises:
        Refusal: there are no lengths, or a number is out of range.

    Example:
        >>> sorted(length_buckets([9, 2, 8, 3], batch_size=2, generator_seed=0, epoch=0))
        [[0, 2], [3, 1]]
    """
    _check(lengths, batch_size, generator_seed)
    generator = np.random.default_rng([generator_seed, epoch])
    order, sizes = generator.permutation(len(lengths)), np.asarray(lengths)
    batches = []
    for start in range(0, len(order), batch_size * BATCHES_PER_POOL):
        pool = order[start : start + batch_size * BATCHES_PER_POOL]
        batches += _cut(pool[np.argsort(-sizes[pool], kind="stable")], batch_size)
    return [batches[place] for place in generator.permutation(len(batches))]


def packed_rows(lengths: Sequence[int], seq_len: int) -> list[list[int]]:
    """Rows of indices whose lengths add up to `seq_len` at most, longest first, each into the first row with room.

    Raises:
        Refusal: there are no lengths, or an example is longer than a row.

    Example:
        >>> packed_rows([4, 6, 3, 5], seq_len=9)
        [[1, 2], [3, 0]]

    Source: first-fit decreasing; Johnson et al. 1974, at most 11/9 of the fewest rows and a constant more.
    """
    _check(lengths, 1, 0)
    if max(lengths) > seq_len:
        raise refusal("seq_len", f"{max(lengths)} or more, the longest example's tokens", seq_len,
                      "Raise it or shorten the example: a packed example is never cut.")
    rows: list[list[int]] = []
    room = np.zeros(len(lengths), dtype=np.int64)  # of each row; rows not opened yet have none
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        fits = room[: len(rows)] >= lengths[index]
        row = int(fits.argmax()) if fits.any() else len(rows)
        if row == len(rows):
            rows.append([])
            room[row] = seq_len
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def collate(examples: Sequence[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """A batch with one example a row, padded on the right to the longest.

    Args:
        examples: pairs (token ids, labels), as `chat.encode` makes them.
        pad_id: the token that fills a row; any id will do, since nothing reads it.

    Raises:
        Refusal: there are no examples, one is empty, or its two lists differ in length.

    Example:
        >>> collate([([5, 6, 7], [-100, 6, 7]), ([8], [-100])], pad_id=0).input_ids.tolist()
        [[5, 6, 7], [8, 0, 0]]
    """
    _check_examples(examples)
    width = max(len(ids) for ids, _ in examples)
    return Batch(torch.tensor([_filled(ids, pad_id, width) for ids, _ in examples]),
                 torch.tensor([_filled(labels, IGNORED, width) for _, labels in examples]),
                 real_tokens=sum(len(ids) for ids, _ in examples))


def collate_packed(rows: Sequence[Sequence[tuple[list[int], list[int]]]], pad_id: int, seq_len: int) -> Batch:
    """A batch with several examples a row, none of which sees another.

    The first token of an example gets no label here: the token before it belongs to somebody else.

    Args:
        rows: the examples of each row, as chosen by `packed_rows`.
        pad_id: the token that fills a row.
        seq_len: the most tokens a row may hold; the batch is as wide as its longest row.

    Raises:
        Refusal: a row holds more than `seq_len` tokens, or an example is malformed.
    """
    _check_examples([example for row in rows for example in row])
    totals = [sum(len(ids) for ids, _ in row) for row in rows]
    if max(totals) > seq_len:
        raise refusal("a packed row", f"{seq_len} tokens or fewer", max(totals), "Choose the rows with packed_rows.")
    columns = [_pack(row, pad_id, max(totals)) for row in rows]
    ids, labels, positions, segments = (torch.tensor(column) for column in zip(*columns, strict=True))
    return Batch(ids, labels, positions, segments, real_tokens=sum(totals))


def below_each_other(batches: Sequence[Batch], pad_id: int) -> Batch:
    """One batch with the rows of all, padded to the widest; of batches that are not packed.

    Args:
        batches: one or more, on one device.
        pad_id: the token that fills rows.

    Example:
        >>> few, many = collate([([5, 6], [5, 6])], 0), collate([([7, 8, 9], [7, 8, 9])], 0)
        >>> below_each_other([few, many], pad_id=0).input_ids.tolist()
        [[5, 6, 0], [7, 8, 9]]
    """
    width = max(batch.input_ids.shape[1] for batch in batches)
    columns = [torch.cat([F.pad(one, (0, width - one.shape[1]), value=fill) for one in parts])
               for parts, fill in (([batch.input_ids for batch in batches], pad_id),
                                   ([batch.labels for batch in batches], IGNORED))]
    return Batch(*columns, real_tokens=sum(batch.real_tokens for batch in batches))


def _pack(row: Sequence[tuple[list[int], list[int]]], pad_id: int, width: int) -> tuple[list[int], ...]:
    all_ids, all_labels, positions, segments = [], [], [], []
    for segment, (ids, labels) in enumerate(row):
        all_ids += ids
        all_labels += [IGNORED, *labels[1:]]
        positions += range(len(ids))
        segments += [segment] * len(ids)
    positions += range(width - len(positions))  # padding is a segment of its own, so its positions start again too
    return (_filled(all_ids, pad_id, width), _filled(all_labels, IGNORED, width), positions,
            _filled(segments, -1, width))


def _same_segment_and_earlier(segment_ids: torch.Tensor) -> torch.Tensor:
    same = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]  # (rows, 1, width, width)
    return same.tril()


def _cut(order: np.ndarray, batch_size: int) -> list[list[int]]:
    return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]


def _filled(values: Sequence[int], fill: int, width: int) -> list[int]:
    return [*values, *[fill] * (width - len(values))]


def _check(lengths: Sequence[int], batch_size: int, generator_seed: int) -> None:
    if not len(lengths):
        raise refusal("lengths", "those of at least one example", list(lengths), "Is the training file empty?")
    if batch_size < 1:
        raise refusal("batch_size", "1 or more", batch_size, "Take 16 to begin with.")
    if generator_seed < 0:
        raise refusal("seed", "0 or more", generator_seed, "Take 0.")


def _check_examples(examples: Sequence[tuple[list[int], list[int]]]) -> None:
    if not examples:
        raise refusal("examples", "at least one", list(examples))
    for place, (ids, labels) in enumerate(examples):
        if not ids or len(ids) != len(labels):
            raise refusal(f"example {place}", "token ids and as many labels, at least one of each",
                          f"{len(ids)} ids and {len(labels)} labels")
