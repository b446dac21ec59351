"""The loss of a causal language model on a batch, with logits at the label positions alone.

Knows nothing about text, training or adapters. A batch is anything with `labels` and `model_inputs`, as in `batches`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ftkit.errors import refusal

MOST_LOGITS = 2**25
"""So many logits exist at a time in `chunked_loss`: in bfloat16 with what is made of them a quarter of a GiB."""


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


def chunked_loss(model: nn.Module, batch: Any, most_logits: int = MOST_LOGITS) -> tuple[torch.Tensor, int]:
    """The same sum and count as `label_loss`, while only so many logits exist at a time.

    The head is given some of the states at a time. Their loss and its gradient are computed at once and their logits
    dropped, so the backward pass finds the gradient of the states ready and multiplies it.

    Equation: ∂L/∂z = softmax(z) − onehot(label) for the logits z of one position.

    Args:
        model: as for `label_loss`.
        batch: as for `label_loss`.
        most_logits: how many may exist at a time; one position's always do.

    Raises:
        Refusal: as `label_loss`, and where the logits are not what the head makes of the states: a model may scale or
            cap them afterwards.

    Source: the idea of Hsu et al. 2024, Liger Kernel, in torch's own operations.
    """
    rows, before, targets = _label_places(batch)
    with _head_given_only(model, rows, before, batch.labels.shape[1], first=True) as used, _seen(model) as raw:
        logits = _run(model, batch).logits
    if not used or (logits is not raw[-1] and not torch.equal(logits.float(), raw[-1].float())):
        raise refusal("logits", f"'at_labels' for a {type(_unwrapped(model)).__name__}", "chunked",
                      "Its logits are more than what a head module makes of the states.")
    head = _head_of(model)
    chunk = max(1, most_logits // logits.shape[-1])
    del logits
    raw.clear()  # their graph may hold the head in another type
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    needed = torch.is_grad_enabled() and (used[0].requires_grad or bool(trained))
    return _ChunkedLoss.apply(used[0][0], head, targets, chunk, needed, *trained), len(targets)


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


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, head, targets, chunk, needed, *trained):
        total, grad_states = states.new_zeros((), dtype=torch.float32), torch.empty_like(states)
        grads = [torch.zeros_like(parameter) for parameter in trained]
        for part, goals, out in zip(states.split(chunk), targets.split(chunk), grad_states.split(chunk), strict=True):
            total += _add_chunk_(head, part.detach().requires_grad_(needed), goals, trained, out, grads)
        ctx.save_for_backward(grad_states, *grads)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad_states, *grads = (each * grad for each in ctx.saved_tensors)
        return grad_states, None, None, None, None, *grads


def _add_chunk_(head: nn.Module, part: torch.Tensor, goals: torch.Tensor, trained: Sequence[nn.Parameter],
                out: torch.Tensor, grads: list[torch.Tensor]) -> torch.Tensor:
    """The loss of one chunk; its gradients go into `out` and are added to `grads`, and nothing else of it stays."""
    with torch.set_grad_enabled(part.requires_grad):
        raw = head(part[None]).squeeze(0)  # (chunk, vocabulary); an index would make another on the way back
    loss, slopes = _loss_and_slopes(raw.detach(), goals)
    if part.requires_grad:
        grad_part, *found = torch.autograd.grad(raw, (part, *trained), slopes, allow_unused=True)
        out.copy_(grad_part)
        for one, more in zip(grads, found, strict=True):
            if more is not None:  # as it is of an adapter that is not active
                one += more
    return loss


def _loss_and_slopes(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss of logits (n, vocabulary), and its gradient in their type; one float32 copy, written over."""
    scores, places = logits.to(torch.float32, copy=True), targets[:, None]
    scores.sub_(scores.amax(-1, keepdim=True))
    wanted = scores.gather(1, places)
    sums = scores.exp_().sum(-1, keepdim=True)
    slopes = scores.div_(sums).scatter_add_(1, places, torch.full_like(wanted, -1.0))
    return (sums.log() - wanted).sum(), slopes.to(logits.dtype)


def _logits_at_labels(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    rows, before, targets = _label_places(batch)
    width = batch.labels.shape[1]
    with _head_given_only(model, rows, before, width) as used:
        logits = _run(model, batch).logits
    picked = logits.squeeze(0) if used else _picked(logits, rows, before, width).squeeze(0)  # (n, vocabulary)
    return picked, targets, (rows, before + 1)


def _label_places(batch: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows and columns of what predicts a label, and the labels."""
    rows, before = (batch.labels[:, 1:] >= 0).nonzero(as_tuple=True)  # the place before a label is what predicts it
    if not len(rows):
        raise refusal("labels", "at least one token that carries loss", "none in this batch",
                      "Leave out records without a trained answer, or raise seq_len if answers are cut off.")
    return rows, before, batch.labels[rows, before + 1]


@contextmanager
def _head_given_only(model: nn.Module, rows: torch.Tensor, columns: torch.Tensor, width: int,
                     first: bool = False) -> Iterator[list[torch.Tensor]]:
    """While open, the model's head sees the picked states instead of all, or the first of them; the list yielded holds
    them if it did."""
    head, used = _head_of(model), []

    def pick(_: nn.Module, inputs: tuple) -> tuple | None:
        if not inputs:  # called with keywords: leave it be, all logits are computed and picked from afterwards
            return None
        used.append(_picked(inputs[0], rows, columns, width))
        return (used[0][:, :1] if first else used[0], *inputs[1:])

    hook = head.register_forward_pre_hook(pick) if head is not None else None
    try:
        yield used
    finally:
        if hook is not None:
            hook.remove()


@contextmanager
def _seen(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """While open, the list yielded collects what the model's head returns."""
    head, found = _head_of(model), []
    hook = head.register_forward_hook(lambda *call: found.append(call[2])) if head is not None else None
    try:
        yield found
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
    if packed and attention != "by_segment" and window is not None and width > window:
        raise refusal("seq_len of packed rows", f"{window} or less, this model's sliding window", width,
                      "Lower seq_len, or take grouping='buckets'.")
    return model(**batch.model_inputs(attention, _compute_dtype(model)), use_cache=False)


def _compute_dtype(model: nn.Module) -> torch.dtype:
    parameter = next(model.parameters())
    if torch.is_autocast_enabled(parameter.device.type):
        return torch.get_autocast_dtype(parameter.device.type)
    return parameter.dtype if parameter.is_floating_point() else torch.float32
