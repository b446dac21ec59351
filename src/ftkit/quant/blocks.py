"""Tensors in blocks of 4- or 8-bit codes with one scale a block; two 4-bit codes in a byte; and back again.

The bytes and scales of NF4 and FP4 are those of bitsandbytes on a CPU, bit for bit, so the odd rules here (ties, the
last block, the table for doubly quantised scales) are its rules. Knows nothing about layers or models.
"""

import sys
from dataclasses import dataclass
from functools import cache

import torch

from ftkit import cpu
from ftkit.errors import refusal, unknown
from ftkit.quant.codebooks import DATA_TYPES, codebook, dynamic_codebook

INPUT_TYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALES_IN_BLOCK = 256  # scales that share one scale of their own, with double quantisation
SMALLEST_SCALE = 1e-38  # a block of smaller numbers is divided by this, so that zeros stay zeros
SMALLEST_INT8_SCALE = 1e-36  # 127 divided by less is infinite in float32
TABLE_PLACES = 65_536  # bitsandbytes looks a scale's code up in a table of so many places from -1 to 1
CHUNK = 2**16  # numbers worked on at once: they and what is made of them stay in the processor's cache
WORTH_THREADS = 2**23  # numbers from which each thread decodes a part; starting threads costs more below


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
    packed, scales = _encode_int8(flat, block_size) if data_type == "int8" else _encode(flat, block_size, data_type)
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
    _decode_into_(flat, quantised.packed[:, 0], scales_of(quantised), quantised.block_size, quantised.data_type)
    return flat[:count].view(quantised.shape)


def scales_of(quantised: Quantised) -> torch.Tensor:
    """The scales, one a block, as float32, whether or not they are stored in codes."""
    if quantised.offset is None:
        return quantised.scales
    values = dynamic_codebook().to(quantised.scales.device)[quantised.scales.int()]
    each = quantised.scale_scales.repeat_interleave(SCALES_IN_BLOCK)[:len(values)]
    return values * each + quantised.offset


def codes_of(quantised: Quantised) -> torch.Tensor:
    """The codes, unpacked, in the shape of the tensor."""
    codes = quantised.packed[:, 0] if quantised.data_type == "int8" else unpack(quantised.packed[:, 0])
    return codes[:quantised.shape.numel()].view(quantised.shape)


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


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Two 4-bit codes to a byte, the earlier in its upper half.

    Args:
        codes: uint8 below 16, an even number of them.

    Example:
        >>> [hex(byte) for byte in pack(torch.tensor([1, 2, 15, 0], dtype=torch.uint8))]
        ['0x12', '0xf0']
    """
    if sys.byteorder == "little":  # both codes of a pair at once: some machines' fastest unit is not a byte
        pairs = codes.contiguous().view(torch.int16)
        return ((pairs << 4) + (pairs >> 8)).to(torch.uint8)
    return (codes[::2] << 4) | codes[1::2]


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """The 4-bit codes of bytes, two each; `pack` undone."""
    return torch.stack([packed >> 4, packed & 15], -1).view(-1)


def _encode(flat: torch.Tensor, block_size: int, data_type: str) -> tuple[torch.Tensor, torch.Tensor]:
    count = len(flat)
    packed = torch.empty((count + 1) // 2, dtype=torch.uint8, device=flat.device)
    scales = torch.empty(-(-count // block_size), device=flat.device)
    whole, step = count - count % block_size, _chunk(flat, block_size)
    for start in range(0, whole, step):
        x = flat[start : min(start + step, whole)].float().view(-1, block_size)
        largest = torch.amax(x.abs(), 1, out=scales[start // block_size : start // block_size + len(x)])
        # times 1/scale, where the last block below is divided: the two round differently, and so does bitsandbytes
        scaled = x * (1.0 / largest.clamp(min=SMALLEST_SCALE))[:, None]
        packed[start // 2 : (start + x.numel()) // 2] = pack(_nearest(scaled.view(-1), data_type))
    if whole < count:
        rest = flat[whole:].float()
        scales[-1] = rest.abs().max().clamp(min=SMALLEST_SCALE)
        scaled = torch.cat([rest / scales[-1], rest.new_zeros(len(rest) % 2)])
        packed[whole // 2 :] = pack(_nearest(scaled, data_type))
    return packed, scales


def _nearest(scaled: torch.Tensor, data_type: str) -> torch.Tensor:
    """The code of the nearest value: the first one's, moved on at every midpoint that a number lies above.

    Fifteen comparisons over a chunk in the cache take a fifth of the time of `torch.bucketize`: its search waits for
    a branch it cannot foresee. A comparison is fast where its result is a float32, and several times slower as bool.
    """
    first, midpoints, moves = _ladder(data_type)
    codes, above = torch.full_like(scaled, first), torch.empty_like(scaled)
    for midpoint, move in zip(midpoints, moves, strict=True):
        codes.add_(torch.gt(scaled, midpoint, out=above), alpha=move)
    return codes.to(torch.int32).to(torch.uint8)  # by way of int32: faster than straight


@cache
def _ladder(data_type: str) -> tuple[int, list[float], list[int]]:
    """The code of the smallest value; the midpoints between neighbouring values; what each adds to the code."""
    values = codebook(data_type)
    order = torch.argsort(values, stable=True)  # FP4 has two zeros: the one without sign comes first
    midpoints = (values[order[:-1]] + values[order[1:]]) / 2
    return int(order[0]), midpoints.tolist(), order.diff().tolist()


def _encode_int8(flat: torch.Tensor, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = torch.nn.functional.pad(flat.float(), (0, -len(flat) % block_size)).view(-1, block_size)
    scales = blocks.abs().amax(1)
    codes = torch.round(blocks * (127.0 / scales.clamp(min=SMALLEST_INT8_SCALE))[:, None])
    return codes.to(torch.int8).view(-1)[:len(flat)], scales


def _decode_into_(flat: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, block_size: int,
                  data_type: str) -> None:
    threads = torch.get_num_threads() if flat.device.type == "cpu" and len(flat) >= WORTH_THREADS else 1
    if threads == 1:
        return _decode_part_(flat, packed, scales, block_size, data_type)
    step, per_byte = -(-len(flat) // threads // block_size) * block_size, 1 if data_type == "int8" else 2
    parts = zip(flat.split(step), packed.split(step // per_byte), scales.split(step // block_size), strict=True)
    cpu.Workers().map(lambda part: _decode_part_(*part, block_size, data_type), list(parts))


def _decode_part_(flat: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, block_size: int,
                  data_type: str) -> None:
    """Chunk by chunk, in the cache: one lookup a byte, of the two values that it stands for, and one product."""
    per_byte, step = (1 if data_type == "int8" else 2), _chunk(flat, block_size)
    plain = flat.dtype == torch.float32  # the product can be made in place
    values = flat[:0] if plain else torch.empty(min(step, len(flat)), device=flat.device)
    index = torch.empty(min(step, len(flat)) // per_byte, dtype=torch.int32, device=flat.device)
    parts = zip(flat.split(step), packed.split(step // per_byte), scales.split(step // block_size), strict=True)
    for out, codes, factors in parts:
        found = out if plain else values[:len(out)]
        index = index[:len(codes)].copy_(codes)
        if per_byte == 1:
            torch.div(index, 127.0, out=found)
        else:
            torch.index_select(_pairs(data_type, flat.device), 0, index, out=found.view(torch.int64))
        whole = len(out) // block_size * block_size
        torch.mul(found[:whole].view(-1, block_size), factors[:whole // block_size, None],
                  out=out[:whole].view(-1, block_size))
        if whole < len(out):
            torch.mul(found[whole:], factors[-1], out=out[whole:])


@cache
def _pairs(data_type: str, device: torch.device) -> torch.Tensor:
    """For each byte the values of its two codes, as one number of 64 bits that holds two of 32."""
    values, byte = codebook(data_type), torch.arange(256)
    return torch.stack([values[byte >> 4], values[byte & 15]], 1).view(torch.int64)[:, 0].contiguous().to(device)


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
    codes = _table().to(scales.device)[place].view(-1)[:len(scales)]
    return codes, offset, scale_scales


@cache
def _table() -> torch.Tensor:
    """The code of the nearest value for each place: near a midpoint this can be the neighbour's, as in bitsandbytes."""
    values = dynamic_codebook()
    places = -1.0 + torch.arange(TABLE_PLACES) * 2.0 / (TABLE_PLACES - 1)
    return torch.bucketize(places, (values[:-1] + values[1:]) * 0.5).to(torch.uint8)


def _chunk(flat: torch.Tensor, block_size: int) -> int:
    """Whole blocks, about `CHUNK` numbers; everything at once where there is no such cache."""
    return block_size * max(1, (CHUNK if flat.device.type == "cpu" else len(flat)) // block_size)


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
