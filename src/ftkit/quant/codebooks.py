"""The values that a code of four or eight bits stands for, each codebook derived from what it is made of.

Knows nothing about blocks, scales or packing. A codebook is a float32 tensor: the value of code i is entry i, and the
largest is 1.
"""

from functools import cache

import torch
from scipy.stats import norm

from ftkit.errors import refusal, unknown

FOUR_BIT = ("nf4", "fp4", "e2m1", "e3m0", "int4")
DATA_TYPES = (*FOUR_BIT, "int8")
NF4_TAIL = round((1 - 1 / 32 + 1 - 1 / 30) / 2, 7)
"""The share of a normal distribution below NF4's outermost quantile: halfway between leaving half of one of 16 parts
outside and leaving half of one of 15, since one side of zero has eight values and the other seven. Rounded, as in
bitsandbytes: with all its digits 12 of NF4's 16 values come out different in their last bits."""


def codebook(data_type: str) -> torch.Tensor:
    """The 16 values of a 4-bit data type, by code.

    Args:
        data_type: "nf4", "fp4" (as in bitsandbytes), "e2m1" or "e3m0" (FP4 as in IEEE 754), "int4".

    Raises:
        Refusal: no such data type, or one without a codebook.

    Example:
        >>> codebook("int4")[[1, 8, 15]]
        tensor([-1.,  0.,  1.])
    """
    if data_type not in _MAKERS:
        raise unknown("data_type", data_type, FOUR_BIT, "int8 has no codebook: its codes are whole numbers.")
    return _made(data_type).clone()


def nf4_codebook(tail: float = NF4_TAIL, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """NF4: quantiles of the normal distribution, eight above zero and seven below, zero itself, and 1 the largest.

    Equation: qᵢ = Φ⁻¹(pᵢ)/Φ⁻¹(p₁), pᵢ from the tail to ½ in equal steps.

    The quantiles are worked out in float32, as bitsandbytes does: packed weights are the same bytes only then.

    Args:
        tail: the share below the outermost quantile, between ½ and 1.
        dtype: what shares and quantiles are held in; float64 gives other last bits.

    Example:
        >>> nf4_codebook()[[0, 7, 15]]
        tensor([-1.,  0.,  1.])

    Source: Dettmers et al. 2023, QLoRA, section 3 and appendix E; bitsandbytes `create_normal_map`.
    Taught in: 07_quantization_from_scratch
    """
    above, below = (norm.ppf(torch.linspace(tail, 0.5, count + 1, dtype=dtype)[:-1].numpy()) for count in (8, 7))
    values = torch.tensor([*(-below).tolist(), 0.0, *above[::-1].tolist()], dtype=dtype)
    return (values / values.max()).float()


def fp4_codebook() -> torch.Tensor:
    """FP4 as bitsandbytes packs it: one bit of sign, two of exponent, one of mantissa.

    Equation: (−1)ˢ·(1 + m/2)·2^(4−e)/12, and where e = 0: (−1)ˢ·m/16/12.

    The exponent counts down: its larger numbers stand for smaller values. And the one value below the normal ones
    lies far under them, at 1/192: IEEE 754 would put it halfway between zero and the smallest normal value
    (`float_codebook`).

    Example:
        >>> fp4_codebook()[:4]
        tensor([0.0000, 0.0052, 0.6667, 1.0000])

    Source: bitsandbytes, `get_4bit_type` and its kernels.
    Taught in: 07_quantization_from_scratch
    """
    values = []
    for code in range(16):
        sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
        size = (1 + mantissa / 2) * 2 ** (4 - exponent) if exponent else mantissa / 16
        values.append(-size if sign and size else size)
    return torch.tensor(values) / 12


def float_codebook(exponent_bits: int, mantissa_bits: int) -> torch.Tensor:
    """A floating-point type of a few bits as IEEE 754 would have it, without infinities: by code, the largest 1.

    Args:
        exponent_bits: 1 or more.
        mantissa_bits: 0 or more; with the exponent's and the sign's, at most 8 bits.

    Raises:
        Refusal: numbers of bits out of range.

    Example:
        >>> float_codebook(2, 1)[:8] * 6
        tensor([0.0000, 0.5000, 1.0000, 1.5000, 2.0000, 3.0000, 4.0000, 6.0000])

    Source: QLoRA's table 2 compares E2M1 and E3M0.
    """
    if not (exponent_bits >= 1 and mantissa_bits >= 0 and exponent_bits + mantissa_bits <= 7):
        raise refusal("exponent_bits and mantissa_bits", "1 or more and 0 or more, 7 together at most",
                      (exponent_bits, mantissa_bits), "Take 2 and 1 for a 4-bit float.")
    steps, sizes = 2**mantissa_bits, []
    for code in range(2 ** (exponent_bits + mantissa_bits)):
        exponent, mantissa = divmod(code, steps)
        sizes.append((mantissa / steps + (exponent > 0)) * 2 ** max(exponent, 1))
    half = torch.tensor(sizes) / max(sizes)
    return torch.cat([half, torch.where(half > 0, -half, half)])


def int4_codebook() -> torch.Tensor:
    """Whole numbers from −7 to 7, divided by 7. A symmetric grid has 15 of them: code 0 is never the nearest.

    Example:
        >>> int4_codebook()[1:4] * 7
        tensor([-7., -6., -5.])
    """
    return torch.arange(-8, 8) / 7


@cache
def dynamic_codebook() -> torch.Tensor:
    """The 256 values, in rising order, that bitsandbytes stores scales in: a decimal exponent and a linear fraction.

    With each step of the exponent from 10⁻⁶ to 10⁰ the fraction doubles its number of values: 1, 2, 4, … 64 of them
    on each side, in the middles of equal parts between 0.1 and 1; and 0 and 1 themselves. So small numbers are
    stored coarsely relative to themselves, and finely beside the largest.

    Example:
        >>> len(dynamic_codebook())
        256

    Source: Dettmers 2015, arXiv 1511.04561; bitsandbytes `create_dynamic_map`.
    Taught in: 07_quantization_from_scratch
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        sizes = (10.0 ** (exponent - 6) * ((edges[:-1] + edges[1:]) / 2)).tolist()
        values += sizes + [-size for size in sizes]
    return torch.tensor(sorted(values))


@cache
def codebook_on(data_type: str, device: torch.device) -> torch.Tensor:
    """The same as `codebook` on a device, made once: not to be written to."""
    return codebook(data_type).to(device)


@cache
def dynamic_codebook_on(device: torch.device) -> torch.Tensor:
    """The same as `dynamic_codebook` on a device, made once: not to be written to."""
    return dynamic_codebook().to(device)


_MAKERS = {"nf4": nf4_codebook, "fp4": fp4_codebook, "e2m1": lambda: float_codebook(2, 1),
           "e3m0": lambda: float_codebook(3, 0), "int4": int4_codebook}


@cache
def _made(data_type: str) -> torch.Tensor:
    return _MAKERS[data_type]()
