"""A frozen linear map plus a trained low-rank one, forward and backward in the fewest steps.

Knows nothing about modules, models or dropout: tensors in, a tensor out.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ftkit import cpu

_FEWEST, _OVER_CODES, _KEEPING = "fewest steps", "over codes", "keeping weights"
_open = dict.fromkeys((_FEWEST, _OVER_CODES, _KEEPING), 0)
"""How often each is open, for the whole process: activation checkpointing runs layers again in another thread."""


def fewest_steps() -> AbstractContextManager[None]:
    """While open, adapted layers may take `low_rank_linear`; else their results are peft's to the last bit."""
    return _opened(_FEWEST)


def is_fewest_steps() -> bool:
    """Whether `fewest_steps` is open."""
    return _open[_FEWEST] > 0


def over_codes() -> AbstractContextManager[None]:
    """While open, adapted layers over 4-bit codes may take `low_rank_linear` too, in the type of the activations."""
    return _opened(_OVER_CODES)


def is_over_codes() -> bool:
    """Whether `over_codes` is open."""
    return _open[_OVER_CODES] > 0


def keeping_weights() -> AbstractContextManager[None]:
    """While open, a weight that was made from codes is kept for the backward pass instead of being made again."""
    return _opened(_KEEPING)


def kept_the_second_time() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The `context_fn` of `torch.utils.checkpoint` that keeps weights while a layer is computed again.

    Its backward pass follows at once. So they are made twice a step, not three times, and those of one layer exist. The
    first time has to keep as many tensors as the second: checkpointing drops them all and puts the second's in place.
    """
    return keeping_weights(), keeping_weights()


def low_rank_linear(x: torch.Tensor, weight: torch.Tensor | Callable[[torch.dtype], torch.Tensor],
                    bias: torch.Tensor | None, lora_A: torch.Tensor, lora_B: torch.Tensor,
                    scaling: float) -> torch.Tensor:
    """The output of a frozen linear layer with a low-rank addition; gradients reach x, A and B only.

    Equation: y = Wx + b + scaling·B(Ax). With g = ∂L/∂y:
    ∂L/∂B = scaling·g(Ax)ᵀ, ∂L/∂A = scaling·(Bᵀg)xᵀ, ∂L/∂x = Wᵀg + scaling·Aᵀ(Bᵀg).
    Shapes: x (..., in), W (out, in), b (out), A (rank, in), B (out, rank) → y (..., out).

    Written out by hand because autograd would make, keep and add up tensors of the size of x and y that are not
    needed: both paths are summed in place here, the scaling is applied to (tokens, rank) and (out, rank) tensors
    alone, no gradient of W or b is computed, and none of x where x needs none.

    Args:
        x: must have the type of W and b; A and B are rounded to it where theirs is another, their gradients come back
            in their own.
        weight: W, or a function that makes it in a given type: then it is made here and again in the backward pass, and
            never kept, unless `keeping_weights` is open.
        scaling: alpha divided by rank, usually.

    Example:
        >>> x, weight, A, B = torch.ones(1, 2), torch.eye(2), torch.ones(1, 2), torch.ones(2, 1)
        >>> low_rank_linear(x, weight, None, A, B, scaling=0.5)
        tensor([[2., 2.]])

    Source: Hu et al. 2021, LoRA, section 4.1.
    """
    return _LowRankLinear.apply(x, weight, bias, lora_A, lora_B, scaling)


class _LowRankLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, lora_A, lora_B, scaling):
        made = weight(x.dtype) if callable(weight) else weight
        y = F.linear(x, made, bias)
        with cpu.matmul("highest"):  # thin products gain nothing by rounding
            low = F.linear(x, lora_A.to(x.dtype))
            y.view(-1, y.shape[-1]).addmm_(_rows(low), lora_B.to(x.dtype).t(), alpha=scaling)  # in place
        kept = [] if callable(weight) and not _open[_KEEPING] else [made]
        ctx.save_for_backward(x, lora_A, lora_B, low, *kept)
        ctx.scaling, ctx.make = scaling, weight if not kept else None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, lora_A, lora_B, low, *kept = ctx.saved_tensors
        grad, narrow_A, narrow_B = _rows(grad_y), lora_A.to(x.dtype), lora_B.to(x.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ (kept[0] if kept else ctx.make(x.dtype))
        with cpu.matmul("highest"):
            grad_low = (grad @ narrow_B).mul_(ctx.scaling)
            grad_A = grad_low.t() @ _rows(x)
            grad_B = (_rows(low).t() @ grad).mul_(ctx.scaling).t()  # the faster way round
            if grad_x is not None:
                grad_x = grad_x.addmm_(grad_low, narrow_A).view(x.shape)
        return grad_x, None, None, grad_A.to(lora_A.dtype), grad_B.to(lora_B.dtype), None


@contextmanager
def _opened(name: str) -> Iterator[None]:
    _open[name] += 1
    try:
        yield
    finally:
        _open[name] -= 1


def _rows(x: torch.Tensor) -> torch.Tensor:
    """All tokens of a batch below each other: (..., width) as (tokens, width)."""
    return x.reshape(-1, x.shape[-1])
