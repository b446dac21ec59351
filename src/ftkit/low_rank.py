"""A frozen linear map plus a trained low-rank one, forward and backward in the fewest steps.

Knows nothing about modules, models or dropout: tensors in, a tensor out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ftkit import cpu

_open = 0  # for the whole process: activation checkpointing runs layers again in another thread


@contextmanager
def fewest_steps() -> Iterator[None]:
    """While open, adapted layers may take `low_rank_linear`; else their results are peft's to the last bit."""
    global _open
    _open += 1
    try:
        yield
    finally:
        _open -= 1


def is_fewest_steps() -> bool:
    """Whether `fewest_steps` is open."""
    return _open > 0


def low_rank_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, lora_A: torch.Tensor,
                    lora_B: torch.Tensor, scaling: float) -> torch.Tensor:
    """The output of a frozen linear layer with a low-rank addition; gradients reach x, A and B only.

    Equation: y = Wx + b + scaling·B(Ax). With g = ∂L/∂y:
    ∂L/∂B = scaling·g(Ax)ᵀ, ∂L/∂A = scaling·(Bᵀg)xᵀ, ∂L/∂x = Wᵀg + scaling·Aᵀ(Bᵀg).
    Shapes: x (..., in), W (out, in), b (out), A (rank, in), B (out, rank) → y (..., out).

    Written out by hand because autograd would make, keep and add up tensors of the size of x and y that are not
    needed: both paths are summed in place here, the scaling is applied to (tokens, rank) and (out, rank) tensors
    alone, no gradient of W or b is computed, and none of x where x needs none.

    Args:
        x: must have the type of all the other tensors.
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
        y = F.linear(x, weight, bias)
        with cpu.matmul("highest"):  # thin products gain nothing by rounding
            low = F.linear(x, lora_A)
            y.view(-1, y.shape[-1]).addmm_(_rows(low), lora_B.t(), alpha=scaling)  # in place
        ctx.save_for_backward(x, weight, lora_A, lora_B, low)
        ctx.scaling = scaling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, weight, lora_A, lora_B, low = ctx.saved_tensors
        grad = _rows(grad_y)
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        with cpu.matmul("highest"):
            grad_low = (grad @ lora_B).mul_(ctx.scaling)
            grad_A = grad_low.t() @ _rows(x)
            grad_B = (_rows(low).t() @ grad).mul_(ctx.scaling).t()  # the faster way round
            if grad_x is not None:
                grad_x = grad_x.addmm_(grad_low, lora_A).view(x.shape)
        return grad_x, None, None, grad_A, grad_B, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    """All tokens of a batch below each other: (..., width) as (tokens, width)."""
    return x.reshape(-1, x.shape[-1])
