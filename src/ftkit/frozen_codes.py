"""A frozen weight that is stored in 4-bit codes, made when a product needs it: bitsandbytes' or our own.

Knows nothing about adapters, models or how numbers become codes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

_decoders: list[Callable] = []  # for the whole process: activation checkpointing runs layers again in another thread


@dataclass(frozen=True, eq=False)
class Codes:
    """A matrix in blocks of 4-bit codes, two in a byte, the earlier in its upper half.

    Args:
        packed: the bytes, flat.
        table: the value of each code.
        scales: one a block, float32; or, with double quantisation, uint8 codes of them.
        block_size: numbers a block.
        shape: of the matrix.
        dtype: the values are rounded to it before anything else.
        scale_table: with double quantisation, the value of each code of a scale.
        scale_scales: one for each so many scales.
        scales_in_block: how many scales share one of `scale_scales`.
        offset: what is added to all scales.
    """

    packed: torch.Tensor
    table: torch.Tensor
    scales: torch.Tensor
    block_size: int
    shape: torch.Size
    dtype: torch.dtype
    scale_table: torch.Tensor | None = None
    scale_scales: torch.Tensor | None = None
    scales_in_block: int = 1
    offset: torch.Tensor | None = None


def weight_of(base: nn.Module, dtype: torch.dtype) -> Callable[[torch.dtype], torch.Tensor] | None:
    """A function that makes a layer's weight in a type; None for a layer without codes.

    Args:
        base: any module; one of bitsandbytes that computes in another type than `dtype`, or has repacked its codes, has
            no such function either.
        dtype: of the activations.

    Example:
        >>> weight_of(nn.Linear(2, 2), torch.float32) is None
        True
    """
    if hasattr(base, "dequantised"):  # our own
        return base.dequantised
    state = getattr(getattr(base, "weight", None), "quant_state", None)
    if type(base).__name__ != "Linear4bit" or state is None or getattr(state, "packing_format_for_cpu", False):
        return None
    if base.compute_dtype not in (None, dtype):
        return None
    return partial(_by_bitsandbytes, base.weight)


def by_open_decoder(codes: Codes, dtype: torch.dtype) -> torch.Tensor | None:
    """The matrix in a type, made by what `decoding_by` opened; None where nothing is open, or a block is short."""
    if not _decoders or codes.shape.numel() % codes.block_size:
        return None
    return _decoders[-1](codes.packed, codes.table, codes.scales, codes.scale_table, codes.scale_scales, codes.offset,
                         codes.block_size, codes.scales_in_block, codes.dtype, dtype).view(codes.shape)


@contextmanager
def decoding_by(decode: Callable) -> Iterator[None]:
    """While open, weights are made by this in place of what their library has.

    Args:
        decode: `decode` or what a compiler made of it: one pass over memory then, where there are several else.
    """
    _decoders.append(decode)
    try:
        yield
    finally:
        _decoders.pop()


def decode(packed, table, scales, scale_table, scale_scales, offset, block_size, scales_in_block, stored, dtype):
    """The numbers of `Codes`, flat, in a type, by torch's own operations and without a loop.

    Equation: w = table[code]·scale; where doubly quantised, scale = scale_table[its code]·its scale + offset.

    Args:
        stored: the type of `Codes.dtype`; all others before are fields of `Codes`.
        dtype: of the result.
    """
    shifts = 4 - 4 * torch.arange(2, device=packed.device, dtype=torch.uint8)  # the upper half of a byte, the lower
    values = table[((packed[:, None] >> shifts) & 15).int()]  # (bytes, 2)
    if scale_table is not None:
        place = torch.arange(len(scales), device=scales.device) // scales_in_block
        scales = scale_table[scales.int()] * scale_scales[place] + offset
    return (values.view(-1, block_size) * scales[:, None]).view(-1).to(stored).to(dtype)


def _by_bitsandbytes(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    made = by_open_decoder(_codes_of(weight.data, weight.quant_state), dtype)
    return dequantize_4bit(weight.data, weight.quant_state).to(dtype) if made is None else made


def _codes_of(packed: torch.Tensor, state: object) -> Codes:
    double = {}
    if state.nested:
        double = {"scale_table": state.state2.code, "scale_scales": state.state2.absmax,
                  "scales_in_block": state.state2.blocksize, "offset": state.offset}
    return Codes(packed.view(torch.uint8).flatten(), state.code, state.absmax, state.blocksize, state.shape,
                 state.dtype, **double)
