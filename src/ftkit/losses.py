"""The loss of a causal language model on a batch, with logits at the label positions alone.

Knows nothing about text, training or adapters. A batch is anything with `labels` and `model_inputs`, as in `batches`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ftkit.errors import refusal


def label_loss(model: nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
    """The summed loss over the tokens that carry one, and how many they are; equal to `plain_loss`.

    Most tokens of a prompt-and-answer record carry no loss, and a vocabulary is wide. So the head is given only the
    states that predict a label. The model's own `forward` runs, wrappers and all: whatever it does to logits after
    the head (scaling, soft caps) stays as it is.

    Equation: L = −Σ_i log softmax(head(h_{i−1}))[label_i] over the tokens i whose label is not −100.
    Shapes: states (rows, width, hidden) → picked states (1, n, hidden) → logits (1, n, vocabulary).

    Args:
        model: a causal language model of transformers, bare or wrapped (our LoRA, peft, accelerate, DDP).
        batch: right-padded or packed rows, see `batches.Batch`.

    Returns:
        The sum (divide it by the count of all rows that make one optimizer step), and the count.

    Raises:
        Refusal: no token carries loss, or packed rows are wider than the model's sliding window.

    Source: the same idea as `logits_to_keep` in transformers, for every model whose head is a module.
    """
    logits, targets, _ = _logits_at_labels(model, batch)
    return F.cross_entropy(logits.float(), targets, reduction="sum"), len(targets)


def plain_loss(model: nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
    """The same sum and count with logits at every position: what `label_loss` is compared with."""
    targets = batch.labels[:, 1:]
    logits = _run(model, batch).logits[:, -batch.labels.shape[1] :][:, :-1]  # (rows, width - 1, vocabulary)
    total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum")
    return total, int((targets >= 0).sum())


def token_losses(model: nn.Module, batch: Any) -> torch.Tensor:
    """The loss of each token, at the token's own place, and 0 where it carries none.

    Shapes: (rows, width) of float32.
    """
    logits, targets, places = _logits_at_labels(model, batch)
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    return torch.zeros(batch.labels.shape, device=losses.device).index_put(places, losses)


def _logits_at_labels(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    rows, before = (batch.labels[:, 1:] >= 0).nonzero(as_tuple=True)  # the place before a label is what predicts it
    if not len(rows):
        raise refusal("labels", "at least one token that carries loss", "none in this batch",
                      "Leave out records without a trained answer, or raise seq_len if answers are cut off.")
    width = batch.labels.shape[1]
    with _head_given_only(model, rows, before, width) as used:
        logits = _run(model, batch).logits
    picked = logits.squeeze(0) if used else _picked(logits, rows, before, width).squeeze(0)  # (n, vocabulary)
    return picked, batch.labels[rows, before + 1], (rows, before + 1)


@contextmanager
def _head_given_only(model: nn.Module, rows: torch.Tensor, columns: torch.Tensor, width: int) -> Iterator[list[bool]]:
    """While open, the model's head sees the picked states instead of all; the list yielded is filled if it did."""
    head, used = _head_of(model), []

    def pick(_: nn.Module, inputs: tuple) -> tuple | None:
        if not inputs:  # called with keywords: leave it be, all logits are computed and picked from afterwards
            return None
        used.append(True)
        return (_picked(inputs[0], rows, columns, width), *inputs[1:])

    hook = head.register_forward_pre_hook(pick) if head is not None else None
    try:
        yield used
    finally:
        if hook is not None:
            hook.remove()


def _picked(states: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, width: int) -> torch.Tensor:
    extra = states.shape[1] - width  # a trained prompt in front of every row shifts the columns
    flat = (rows * states.shape[1] + columns + extra).to(states.device)
    return states.flatten(0, 1).index_select(0, flat)[None]  # (1, n, ...)


def _head_of(model: nn.Module) -> nn.Module | None:
    inner = _unwrapped(model)
    return inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None


def _unwrapped(model: nn.Module) -> nn.Module:
    while not hasattr(model, "get_output_embeddings") and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # DDP and its kin
    return model


def _run(model: nn.Module, batch: Any) -> Any:
    config = getattr(_unwrapped(model), "config", None)
    attention = getattr(config, "_attn_implementation", None) or "eager"
    window = getattr(config, "sliding_window", None)
    packed, width = batch.segment_ids is not None, batch.labels.shape[1]
    if packed and window is not None and width > window:
        raise refusal("seq_len of packed rows", f"{window} or less, this model's sliding window", width,
                      "Lower seq_len, or take grouping='buckets'.")
    return model(**batch.model_inputs(attention, _compute_dtype(model)), use_cache=False)


def _compute_dtype(model: nn.Module) -> torch.dtype:
    parameter = next(model.parameters())
    if torch.is_autocast_enabled(parameter.device.type):
        return torch.get_autocast_dtype(parameter.device.type)
    return parameter.dtype if parameter.is_floating_point() else torch.float32
