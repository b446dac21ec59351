"""What a CUDA device would compute otherwise than a CPU does, written out in tensors, so that a CPU can count them.

Knows nothing about models or training. torch without CUDA cannot run its autograd over fake tensors of a CUDA device,
so fake tensors of the CPU stand for them, and the operators for which memory differs are exchanged here. Each function
names the source that it follows. Results are not computed: use it under `FakeTensorMode`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

NOTES = {
    "flash": "attention: tensors of torch's flash kernel (FlashAttention 2), its float32 sums in the backward pass too",
    "efficient": "attention: tensors of torch's memory-efficient kernel, keys and values repeated for all heads",
    "math": "attention: torch's own products and softmax, upcast to float32, scores kept",
    "eager": "attention: transformers' own products and softmax, scores kept",
}
GRANULE_BYTES = 512  # torch's caching allocator for CUDA gives out multiples of it
ALIGNED_QUERIES = 128  # the flash kernel's backward pass rounds up rows
ALIGNED_SUMS = 32  # the memory-efficient kernel rounds up rows


class Exchanged(TorchDispatchMode):
    """While open, operators of a table are computed by Python functions; modes opened before see what those make.

    Args:
        table: function by operator overload; the function takes what the operator takes.
    """

    def __init__(self, table: Mapping[Callable, Callable]):
        super().__init__()
        self._table = table

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self._table.get(func, func)(*args, **kwargs or {})


@contextmanager
def on_cuda(attention: str) -> Iterator[None]:
    """While open, what runs makes the tensors that it would make on a CUDA device.

    Attention makes those of the chosen kernel, dropout keeps one byte a number, and 8-bit layers go through
    bitsandbytes' integer product.

    Args:
        attention: "flash", "efficient", "math", or "eager", which needs nothing exchanged. Rows with a mask,
            float32 and values of another width than queries take "efficient" for "flash", as torch does.
    """
    import bitsandbytes as bnb
    from bitsandbytes.autograd import _functions

    def matmul(A, B, out=None, state=None, threshold=0.0, bias=None):  # bitsandbytes' own leaves it out on a CPU
        return _functions.MatMul8bitLt.apply(A, B, out, bias, state)

    with ExitStack() as stack:
        stack.enter_context(patch.object(F, "dropout", _dropout))
        stack.enter_context(patch.object(bnb, "matmul", matmul))
        stack.enter_context(patch.object(_functions.logger, "disabled", True))  # else a line a call
        stack.enter_context(Exchanged(_eight_bit_operators()))
        if attention in ("flash", "efficient"):
            stack.enter_context(patch.object(F, "scaled_dot_product_attention", _attention(attention == "flash")))
        else:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(patch.object(F, "scaled_dot_product_attention", _with_dropout(
                F.scaled_dot_product_attention)))
        yield


def four_bit_operators() -> dict[Callable, Callable]:
    """bitsandbytes' 4-bit product as what it consists of: scales, the dequantised weight, a plain product.

    So it is on every CPU, and on a GPU for all but the smallest batches, for which it has a kernel of its own.

    Source: `_gemm_4bit_default_impl` and `_dequant_linear_fallback` in bitsandbytes 0.50.
    """
    return {torch.ops.bitsandbytes.gemm_4bit.default: _four_bit_product}


def _four_bit_product(A, B, shape, absmax, blocksize, quant_type, bias=None, absmax_8bit=None, absmax_code=None,
                      absmax_offset=None):
    operators = torch.ops.bitsandbytes
    if absmax_8bit is not None:
        scales = operators.dequantize_blockwise.default(absmax_8bit, absmax, absmax_code, 256, torch.float32)
        absmax = scales + absmax_offset
    weight = operators.dequantize_4bit.default(B, absmax, blocksize, quant_type, shape, A.dtype)
    return F.linear(A, weight, bias)


def _eight_bit_operators() -> dict[Callable, Callable]:
    """Source: bitsandbytes 0.50, backends/cuda/ops.py and backends/default/ops.py; no column is an outlier here."""
    operators = torch.ops.bitsandbytes
    return {operators.int8_vectorwise_quant.default: _row_quantised,
            operators.int8_scaled_mm.default: _integer_product,
            operators.int8_mixed_scaled_mm.default: _mixed_product}


def _row_quantised(A, threshold=0.0):
    scales = torch.empty(A.numel() // A.shape[-1], dtype=torch.float32, device=A.device)
    codes = torch.empty(A.shape, dtype=torch.int8, device=A.device)
    if not threshold:
        return codes, scales, None
    outliers = A.abs() >= threshold
    return codes, scales, torch.empty(0, dtype=torch.int64, device=outliers.device)


def _integer_product(A, B, row_stats, col_stats, bias=None, dtype=None):
    sums = torch.empty((*A.shape[:-1], B.shape[0]), dtype=torch.int32, device=A.device)
    halves = torch.empty_like(sums, dtype=torch.float16)
    return halves.to(dtype or torch.float16)


def _mixed_product(A, CA, CB, SCA, SCB, outlier_cols=None, bias=None):
    outliers = torch.empty(0, dtype=A.dtype, device=A.device)
    return _integer_product(CA, CB, SCA, SCB, bias, A.dtype), outliers


def _dropout(input, p=0.5, training=True, inplace=False):  # the names are torch's
    return torch.native_dropout(input, p, True)[0] if p and training else input


class _Flash(torch.autograd.Function):
    """Source: `mha_fwd` and `mha_bwd` in torch's aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp."""

    @staticmethod
    def forward(ctx, query, key, value):
        out, sums = _result_of(query, query.shape[2], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, value, *_ = ctx.saved_tensors
        rows, heads, width, head = query.shape
        grads = [torch.empty_like(one) for one in (query, key, value)]
        long = -(-width // ALIGNED_QUERIES) * ALIGNED_QUERIES
        wide = -(-head // (granule := 32 if head <= 128 else 64)) * granule
        held = [query.new_empty(rows, heads, long, dtype=torch.float32),  # held, so that all are alive at once
                query.new_empty(rows, long, heads, wide, dtype=torch.float32)]
        if key.shape[1] != heads:
            held += [query.new_empty(rows, width, heads, head) for _ in range(2)]
        return tuple(grads)


class _Efficient(torch.autograd.Function):
    """Source: `_efficient_attention_backward` in torch's native/transformers/cuda/attention_backward.cu."""

    @staticmethod
    def forward(ctx, query, key, value):
        out, sums = _result_of(query, -(-query.shape[2] // ALIGNED_SUMS) * ALIGNED_SUMS, value.shape[-1])
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, value, _, sums = ctx.saved_tensors
        held = [torch.empty_like(sums)]
        if query.dtype != torch.float32:  # sums up in float32, beside the result
            held.append(torch.empty_like(query, dtype=torch.float32))
        return tuple(torch.empty_like(one) for one in (query, key, value))


def _result_of(query: torch.Tensor, width: int, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What both kernels keep: the output, laid out as (rows, width, heads, head), and a float32 for each query."""
    rows, heads, queries, _ = query.shape
    out = query.new_empty(rows, queries, heads, head).transpose(1, 2)
    return out, query.new_empty(rows, heads, width, dtype=torch.float32)


def _as_autocast(*tensors: torch.Tensor) -> Iterator[torch.Tensor]:
    """Tensors in the type of mixed precision, where it is open."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    return (one if kind is None else one.to(kind) for one in tensors)


def _with_dropout(plain: Callable) -> Callable:
    """torch's own without a kernel; on a GPU dropout keeps one byte a share, on a CPU a number.

    Source: `_scaled_dot_product_attention_math` in torch's native/transformers/attention.cpp.
    """
    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        if not dropout_p:
            return plain(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
        query, key, value = _as_autocast(query, key, value)
        with torch.autocast("cpu", enabled=False):
            groups = query.shape[1] // key.shape[1]
            wide, key, value = query.float(), *(one.float().repeat_interleave(groups, 1) for one in (key, value))
            scores = (wide * 1.0) @ (key * 1.0).transpose(-2, -1)
            if attn_mask is not None:
                scores = scores + attn_mask
            return (_dropout(torch.softmax(scores, -1), dropout_p) @ value).to(query.dtype)

    return attention


def _attention(is_flash: bool) -> Callable:
    """What torch takes for `scaled_dot_product_attention`: the memory-efficient kernel knows masks, but no groups; for
    unequal heads that nobody called groups, plain products."""
    plain = F.scaled_dot_product_attention

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        query, key, value = _as_autocast(query, key, value)
        if query.shape[1] != key.shape[1] and not enable_gqa:
            with sdpa_kernel(SDPBackend.MATH):
                return plain(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
        takes_flash = is_flash and query.dtype != torch.float32 and query.shape[-1] == value.shape[-1]
        if takes_flash and attn_mask is None:
            return _Flash.apply(query, key, value)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return _Efficient.apply(query, key, value)

    return attention
