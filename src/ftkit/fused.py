"""Parts of common language models in fewer passes over memory: RMSNorm, rotary positions, attention over short rows.

Knows nothing about adapters, losses or training: while `fused` is open, a model computes the same, sooner.
`benchmarks/train_speed.py` measures what it is worth.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from ftkit import cpu

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # their norm and rotary code is the same, word for word
NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


@contextmanager
def fused(model: nn.Module, rows: int, width: int) -> Iterator[None]:
    """While open, a float32 model on a CPU takes the functions below in place of those that transformers wrote.

    transformers writes its layers to be read: a norm takes six passes over memory forward and more backward, a rotation
    five. A small model on a CPU waits for memory. Results differ by rounding alone; whatever these functions do not
    cover (other types, masks, dropout in attention, other families) runs as it always does.

    Args:
        rows: of the batch.
        width: tokens of a row; long rows keep torch's flash attention, which saves memory.

    Source: the same idea as Hsu et al. 2024, Liger Kernel, which is for GPUs.
    """
    if next(model.parameters()).device.type != "cpu":
        yield
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as attentions

    loaded = (sys.modules.get(f"transformers.models.{one}.modeling_{one}") for one in FAMILIES)
    families = [module for module in loaded if module is not None]
    norms = [getattr(module, name) for module in families for name in NORMS if hasattr(module, name)]
    attention = attentions["sdpa"]
    with cpu.attention_for(model, rows, width) as is_short:
        try:
            for norm in norms:
                norm.forward = _norm_forward(_original(norm, "forward"))
            for module in families:
                module.apply_rotary_pos_emb = _rotary(_original(module, "apply_rotary_pos_emb"))
            if is_short:
                attentions["sdpa"] = _attention
            yield
        finally:
            for norm in norms:
                norm.forward = _original(norm, "forward")
            for module in families:
                module.apply_rotary_pos_emb = _original(module, "apply_rotary_pos_emb")
            attentions["sdpa"] = attention


@contextmanager
def masks_apart() -> Iterator[None]:
    """While open, no mask from before is used, and none made meanwhile afterwards: for tensors that are not real."""
    _mask.cache_clear()
    try:
        yield
    finally:
        _mask.cache_clear()


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The root-mean-square norm.

    Equation: y = w·x/√(mean(x²) + ε).
    Shapes: x (..., width), weight (width).

    Source: Zhang and Sennrich 2019.
    """
    return _RMSNorm.apply(x, weight, epsilon)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries or keys turned by their positions: first and second half of a head are the two coordinates.

    Equation: (a, b) → (a·cos − b·sin, b·cos + a·sin).
    Shapes: x (rows, heads, width, head), cos and sin broadcast to it.

    Source: Su et al. 2021, RoFormer.
    """
    return _Rotation.apply(x, cos, sin)


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of each token to itself and the tokens before it, by plain matrix products.

    Equation: softmax(scaling·QKᵀ + mask)·V.
    Shapes: query, key, value (rows, heads, width, head) → (rows, width, heads, head).

    Source: Vaswani et al. 2017, section 3.2.1.
    """
    return _CausalAttention.apply(query, key, value, scaling)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, epsilon):
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        normed, inverse, weight = ctx.saved_tensors
        grad_weight = (grad * normed).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        grad = grad * weight
        along = torch.linalg.vecdot(grad, normed).unsqueeze(-1).div_(-normed.shape[-1])
        return grad.addcmul_(normed, along).mul_(inverse), grad_weight, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        (a, b), (cos_a, cos_b), (sin_a, sin_b) = _halves(x), _halves(cos), _halves(sin)
        out = x.new_empty(x.shape)
        out_a, out_b = _halves(out)
        torch.mul(a, cos_a, out=out_a).addcmul_(b, sin_a, value=-1)
        torch.mul(b, cos_b, out=out_b).addcmul_(a, sin_b)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (a, b), (cos_a, cos_b), (sin_a, sin_b) = map(_halves, (grad, *ctx.saved_tensors))
        rows, heads, width, head = grad.shape
        out = grad.new_empty(rows, width, heads, head).transpose(1, 2)  # as the projection wrote x
        out_a, out_b = _halves(out)
        torch.mul(a, cos_a, out=out_a).addcmul_(b, sin_b)
        torch.mul(b, cos_b, out=out_b).addcmul_(a, sin_a, value=-1)
        return out, None, None


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, scaling):
        rows, heads, width, head = query.shape
        query, key, value = (one.reshape(rows * heads, width, head) for one in (query, key, value))
        with cpu.matmul("highest"):
            weights = torch.softmax(torch.baddbmm(_mask(width, query.dtype), query, key.mT, alpha=scaling), -1)
            out = torch.bmm(weights, value)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scaling, ctx.shape = scaling, (rows, heads, width, head)
        return out.view(ctx.shape).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, value, weights = ctx.saved_tensors
        grad = grad.transpose(1, 2).reshape(query.shape)
        with cpu.matmul("highest"):
            grad_value = torch.bmm(weights.mT, grad)
            grad_weights = torch.bmm(grad, value.mT)
            along = torch.linalg.vecdot(grad_weights, weights).unsqueeze(-1)
            grad_scores = grad_weights.sub_(along).mul_(weights).mul_(ctx.scaling)
            grad_query, grad_key = torch.bmm(grad_scores, key), torch.bmm(grad_scores.mT, query)
        return *(one.view(ctx.shape) for one in (grad_query, grad_key, grad_value)), None


def _norm_forward(original: Callable) -> Callable:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == self.weight.dtype == torch.float32:
            return rms_norm(x, self.weight, self.variance_epsilon)
        return original(self, x)

    return forward


def _rotary(original: Callable) -> Callable:
    def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):  # the names are transformers'
        if unsqueeze_dim == 1 and q.dtype == k.dtype == cos.dtype == torch.float32:
            return rotate(q, cos[:, None], sin[:, None]), rotate(k, cos[:, None], sin[:, None])
        return original(q, k, cos, sin, unsqueeze_dim)

    return apply_rotary_pos_emb


def _attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, **others):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    if (attention_mask is None and causal and not dropout and query.shape == key.shape == value.shape
            and query.dtype == key.dtype == value.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            and others.get("position_bias") is None and others.get("cache") is None):
        return causal_attention(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **others)


@cache
def _original(owner: type, name: str) -> Callable:
    return getattr(owner, name)


@lru_cache(maxsize=1)  # all layers ask for the same one
def _mask(width: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((width, width), -torch.inf, dtype=dtype).triu_(1)


def _halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.chunk(2, -1)
