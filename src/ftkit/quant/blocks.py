"""Tensors in blocks of 4- or 8-bit codes with one scale a block; two 4-bit codes in a byte; and back again.

The bytes and scales of NF4 and FP4 are those of bitsandbytes on a CPU, bit for bit, so the odd rules here (ties, the
last block, the table for doubly quantised scales) are its rules. Knows nothing about layers or models.
"""

from dataclasses import dataclass
from functools import cache

import torch

from ftkit.errors import refusal, unknown
from ftkit.quant import codes
from ftkit.quant.codebooks import DATA_TYPES, dynamic_codebook, dynamic_codebook_on

INPUT_TYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALES_IN_BLOCK = 256  # scales that share one scale of their own, with double quantisation
TABLE_PLACES = 65_536  # bitsandbytes looks a scale's code up in a table of so many places from -1 to 1


@dataclass(frozen=True, eq=False)
class Quantised:
    """A tensor in blocks of codes.

    Args:
        packed: uint8 (bytes, 1), the earlier code of two in the upper half of a byte; int8 (numbers, 1) for int8.
        scales: float32, one a block: the largest absolute value in it; codes (uint8) with double quantisation.
        shape: of the tensor.
        dtype: of the tensor.
        data_type: what the codes stand for.
        block_size: numbers a block; the last may hold fewer.
        offset: with double quantisation, the mean that was taken off the scales.
        scale_scales: with double quantisation, one a block of 256 scales.
    """

    packed: torch.Tensor
    scales: torch.Tensor
    shape: torch.Size
    dtype: torch.dtype
    data_type: str
    block_size: int
    offset: torch.Tensor | None = None
    scale_scales: torch.Tensor | None = None


def quantise(tensor: torch.Tensor, data_type: str = "nf4", block_size: int = 64, double: bool = False) -> Quantised:
    """The tensor, row after row, in blocks of codes.

    Equation: codeᵢ = the one whose value is nearest to xᵢ/scale, scale = max |xⱼ| over the block; of two equally near
    the smaller. int8: codeᵢ = xᵢ·(127/scale), rounded.

    Args:
        tensor: float32, bfloat16 or float16, of any shape, with at least one number.
        data_type: "nf4", "fp4", "e2m1", "e3m0", "int4" or "int8".
        block_size: numbers that share a scale; even, so that no byte holds codes of two blocks.
        double: whether the scales are quantised too, to 8 bits.

    Raises:
        Refusal: any of these is something else, or the tensor holds a NaN or an infinity.

    Example:
        >>> small = quantise(torch.tensor([0.0, 1.0, -2.0, 0.5]), block_size=2)
        >>> small.scales, [hex(byte) for byte in small.packed.flatten().tolist()]
        (tensor([1., 2.]), ['0x7f', '0xa'])

    Source: Dettmers et al. 2023, QLoRA, section 3; bitsandbytes `quantize_4bit`.
    Taught in: 07_quantization_from_scratch
    """
    _check(tensor, data_type, block_size, double)
    flat = tensor.detach().reshape(-1)
    packed, scales = codes.encode(flat, block_size, data_type)
    if not torch.isfinite(scales).all():
        raise _not_finite(tensor)
    extra = _quantise_scales(scales) if double else (scales,)
    return Quantised(packed[:, None], extra[0], tensor.shape, tensor.dtype, data_type, block_size, *extra[1:])


def dequantise(quantised: Quantised, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The numbers that the codes stand for, in the shape they had.

    Args:
        quantised: as `quantise` makes it.
        dtype: of the result; None takes that of the tensor that was quantised. Products are float32 and are rounded
            to it.

    Example:
        >>> dequantise(quantise(torch.tensor([[0.0, 3.0], [-2.0, 0.5]]), "int4", block_size=2))
        tensor([[ 0.0000,  3.0000],
                [-2.0000,  0.5714]])

    Taught in: 07_quantization_from_scratch
    """
    count = quantised.shape.numel()
    odd = count % 2 if quantised.data_type != "int8" else 0  # the last half byte is filled with a zero
    flat = torch.empty(count + odd, dtype=dtype or quantised.dtype, device=quantised.packed.device)
    codes.decode_into_(flat, quantised.packed[:, 0], scales_of(quantised), quantised.block_size, quantised.data_type)
    return flat[:count].view(quantised.shape)


def scales_of(quantised: Quantised) -> torch.Tensor:
    """The scales, one a block, as float32, whether or not they are stored in codes."""
    if quantised.offset is None:
        return quantised.scales
    values = dynamic_codebook_on(quantised.scales.device)[quantised.scales.int()]
    each = quantised.scale_scales.repeat_interleave(SCALES_IN_BLOCK)[:len(values)]
    return values * each + quantised.offset


def codes_of(quantised: Quantised) -> torch.Tensor:
    """The codes, unpacked, in the shape of the tensor."""
    found = quantised.packed[:, 0] if quantised.data_type == "int8" else codes.unpack(quantised.packed[:, 0])
    return found[:quantised.shape.numel()].view(quantised.shape)


def storage_bytes(quantised: Quantised) -> int:
    """The bytes of the tensors that are held. The codebooks, 1,088 bytes at most, are one for all and not counted."""
    held = (quantised.packed, quantised.scales, quantised.offset, quantised.scale_scales)
    return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)


def bits_per_number(quantised: Quantised) -> float:
    """Stored bits, scales and all, for each number of the tensor.

    Example:
        >>> bits_per_number(quantise(torch.ones(64, 64)))
        4.5
    """
    return 8 * storage_bytes(quantised) / quantised.shape.numel()


def _quantise_scales(scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes of the scales, the mean that was taken off them first, and the scales of the codes."""
    offset = scales.mean()
    if not torch.isfinite(offset):
        raise refusal("tensor", "of scales with a finite mean for double quantisation", f"a mean of {offset.item()}",
                      "Its numbers are near the largest of float32: scale it down, or take double=False.")
    centred = torch.nn.functional.pad(scales - offset, (0, -len(scales) % SCALES_IN_BLOCK)).view(-1, SCALES_IN_BLOCK)
    scale_scales = centred.abs().amax(1)
    scaled = (centred * (1.0 / scale_scales)[:, None]).clamp(-1, 1)
    place = ((scaled + 1) * 0.5).double() * (TABLE_PLACES - 1) + 0.5  # rounded once, like a fused multiply-add
    place = place.float().nan_to_num(0.0).long()  # 0/0 in a block of zeros: any code will do, theirs is 0
    found = _table().to(scales.device)[place].view(-1)[:len(scales)]
    return found, offset, scale_scales


@cache
def _table() -> torch.Tensor:
    """The code of the nearest value for each place: near a midpoint this can be the neighbour's, as in bitsandbytes."""
    values = dynamic_codebook()
    places = -1.0 + torch.arange(TABLE_PLACES) * 2.0 / (TABLE_PLACES - 1)
    return torch.bucketize(places, (values[:-1] + values[1:]) * 0.5).to(torch.uint8)


def _check(tensor: object, data_type: str, block_size: int, double: bool) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise refusal("tensor", "a torch.Tensor", type(tensor).__name__, "Make one with torch.tensor.")
    if data_type not in DATA_TYPES:
        raise unknown("data_type", data_type, DATA_TYPES)
    if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 2 or block_size % 2:
        raise refusal("block_size", "an even whole number, 2 or more", block_size, "Take 64 to begin with.")
    if not isinstance(double, bool):
        raise refusal("double", "True or False", double, "It says whether the scales are quantised too.")
    if tensor.dtype not in INPUT_TYPES:
        raise refusal("tensor", "of float32, bfloat16 or float16", str(tensor.dtype),
                      "Codes and other whole numbers are not weights; of float64 take tensor.float().")
    if not tensor.numel():
        raise refusal("tensor", "one with at least one number", f"shape {tuple(tensor.shape)}")


def _not_finite(tensor: torch.Tensor):
    place = (~torch.isfinite(tensor)).nonzero()[0].tolist()
    return refusal("tensor", "finite everywhere", f"{tensor[tuple(place)].item()} at {place}",
                   "Its block would be lost: find out where it comes from before quantising.")
