"""Attention over packed rows one sample at a time: no sample sees another, and none pays for the others' width.

Knows nothing about losses, adapters or training. A mask says the same, but attention with a mask still computes every
pair of tokens in a row; here only pairs within a sample are computed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ftkit.errors import refusal

NAME = "by_segment"
"""Of this attention among transformers' attention functions."""

_REFUSED = ("softcap", "s_aux", "position_bias")  # what some families add to their scores
_lengths: list[tuple[int, ...]] = []  # of the open batches, for the whole process: layers may run again backward


@contextmanager
def attending(model: nn.Module, batch: Any) -> Iterator[None]:
    """While open, a model of transformers attends to each sample of a packed batch by itself; else nothing changes.

    Forward and backward pass must both be inside, since layers may be computed again.

    Args:
        model: one whose attention goes through transformers' attention functions.
        batch: with `segment_ids`, as in `batches.Batch`; None there means no packed rows.

    Raises:
        Refusal: the model's attention cannot be exchanged, or a sample is longer than its sliding window.
    """
    if batch.segment_ids is None:
        yield
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config, lengths = model.config, segment_lengths(batch.segment_ids)
    check_exchangeable(model)
    window = getattr(config, "sliding_window", None)
    if window is not None and max(lengths) > window:
        raise refusal("a packed sample", f"{window} tokens or fewer, this model's sliding window", max(lengths),
                      "Shorten it, or take packed_attention='mask' with a smaller seq_len.")
    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
    before = config._attn_implementation
    _lengths.append(lengths)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _lengths.pop()


def check_exchangeable(model: nn.Module) -> None:
    """Refuses a model whose attention does not go through transformers' attention functions."""
    if not getattr(model, "_supports_attention_backend", False):
        raise refusal("packed_attention", f"'mask' for a {type(model).__name__}", NAME,
                      "Its attention is its own and cannot be exchanged.")


def segment_lengths(segment_ids: torch.Tensor) -> tuple[int, ...]:
    """The tokens of each sample of packed rows, row after row; padding at a row's end counts as a sample.

    Shapes: segment_ids (rows, width).

    Example:
        >>> segment_lengths(torch.tensor([[0, 0, 1], [0, -1, -1]]))
        (2, 1, 1, 2)
    """
    starts = torch.ones_like(segment_ids, dtype=torch.bool)
    starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    places = starts.flatten().nonzero().flatten().tolist()
    return tuple(after - one for one, after in zip(places, [*places[1:], segment_ids.numel()], strict=True))


def segment_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: Sequence[int],
                      scaling: float) -> torch.Tensor:
    """Causal attention within each of several samples that lie one after the other.

    Equation: softmax(scaling·QKᵀ + mask)·V for each sample.
    Shapes: query (tokens, heads, head), key and value (tokens, key heads, head) → (tokens, heads, head).

    On a GPU in 16 bits by torch's flash attention for rows of various lengths, elsewhere sample after sample.

    Args:
        lengths: of the samples; they add up to the tokens.
        scaling: of the scores, usually 1/√head.

    Source: Dao 2023, FlashAttention-2, whose kernels torch carries; Krell et al. 2021 for packing without leaks.
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and _has_flash(query.device):
        return _flash(query, key, value, lengths, scaling)
    shared, parts = query.shape[1] != key.shape[1], []
    for one in zip(*(each.split(list(lengths)) for each in (query, key, value)), strict=True):
        row = (each.transpose(0, 1)[None] for each in one)  # (1, heads, width, head)
        parts.append(F.scaled_dot_product_attention(*row, is_causal=True, scale=scaling, enable_gqa=shared)[0])
    return torch.cat(parts, 1).transpose(0, 1)


def _attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **others):
    """As transformers calls it: (rows, heads, width, head), and (rows, width, heads, head) back."""
    for name in _REFUSED:
        if others.get(name) is not None:
            raise refusal("packed_attention", f"'mask' for a model with {name} in its attention", NAME)
    if dropout:
        raise refusal("attention dropout", "0 with packed_attention='by_segment'", dropout,
                      "Take packed_attention='mask', or set attention_dropout=0.0 in the model's config.")
    if query.shape[0] * query.shape[2] != sum(_lengths[-1]):
        raise refusal("packed_attention", "'mask' for a model with trained tokens in front of its rows", NAME)
    flat = (each.transpose(1, 2).flatten(0, 1) for each in (query, key, value))  # (tokens, heads, head)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = segment_attention(*flat, _lengths[-1], scaling)
    return out.unflatten(0, (query.shape[0], query.shape[2])), None


def _flash(query, key, value, lengths, scaling):
    edges = _edges(tuple(lengths), query.device)
    return torch.ops.aten._flash_attention_forward(
        query, key, value, edges, edges, max(lengths), max(lengths), 0.0, True, False, scale=scaling)[0]


@lru_cache(maxsize=1)  # all layers ask for the same ones
def _edges(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(device, torch.int32)


@cache
def _has_flash(device: torch.device) -> bool:
    """Whether torch's flash attention takes such rows here, forward and backward: tried once on a few tokens."""
    query, key = (torch.zeros(8, heads, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
                  for heads in (2, 1))
    apart = torch.autograd.graph.saved_tensors_hooks(_itself, _itself)  # from a layer that will be computed again
    try:
        with torch.enable_grad(), apart:
            torch.autograd.grad(_flash(query, key, key, [5, 3], 0.125).sum(), (query, key))
    except (RuntimeError, NotImplementedError, TypeError):  # an older GPU, or a torch built without it
        return False
    return True


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
