"""Blocks of numbers to codes and back, fast: the nearest value's code, two codes in a byte, and the lookup back.

Knows nothing about what may be quantised or how scales are stored: flat tensors in, flat tensors filled.
"""

import sys
from functools import cache

import torch

from ftkit import cpu
from ftkit.quant.codebooks import codebook

SMALLEST_SCALE = 1e-38  # a block of smaller numbers is divided by this, so that zeros stay zeros
SMALLEST_INT8_SCALE = 1e-36  # 127 divided by less is infinite in float32
CHUNK = 60_000  # numbers worked on at once: they and what is made of them stay in the processor's cache
DECODE_CHUNK = 65_472  # of 65,536 numbers the bytes would be so many that torch calls its threads together for them
DECODE_THREADS = 2**23  # numbers from which threads of our own are worth their start


def encode(flat: torch.Tensor, block_size: int, data_type: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Packed codes (int8: whole numbers) and float32 scales of a flat tensor."""
    if data_type == "int8":
        return _encode_int8(flat, block_size)
    packed = torch.empty((len(flat) + 1) // 2, dtype=torch.uint8, device=flat.device)
    scales = torch.empty(-(-len(flat) // block_size), device=flat.device)
    _encode_into_(flat, packed, scales, block_size, data_type)
    return packed, scales


def decode_into_(flat: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, block_size: int,
                 data_type: str) -> None:
    """Fill a flat tensor of any floating-point type with the values that the codes stand for.

    A large one in parts, one for each of torch's threads: torch's own lookup uses one thread only.
    """
    threads = torch.get_num_threads() if flat.device.type == "cpu" and len(flat) >= DECODE_THREADS else 1
    if threads == 1:
        return _decode_into_(flat, packed, scales, block_size, data_type, DECODE_CHUNK)
    step, per_byte = -(-len(flat) // threads // block_size) * block_size, 1 if data_type == "int8" else 2
    parts = zip(flat.split(step), packed.split(step // per_byte), scales.split(step // block_size), strict=True)
    chunk = 4 * DECODE_CHUNK  # threads take turns at Python: fewer turns, though less of a chunk is in the cache
    cpu.Workers().map(lambda part: _decode_into_(*part, block_size, data_type, chunk), list(parts))


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


def _encode_into_(flat: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, block_size: int,
                  data_type: str) -> None:
    whole, step = len(flat) - len(flat) % block_size, _chunk(flat, block_size, _encode_chunk())
    for start in range(0, whole, step):
        x = flat[start : min(start + step, whole)].float().view(-1, block_size)
        largest = torch.amax(x.abs(), 1, out=scales[start // block_size : start // block_size + len(x)])
        # times 1/scale, where the last block below is divided: the two round differently, and so does bitsandbytes
        scaled = x * (1.0 / largest.clamp(min=SMALLEST_SCALE))[:, None]
        packed[start // 2 : (start + x.numel()) // 2] = pack(_nearest(scaled.view(-1), data_type))
    if whole < len(flat):
        rest = flat[whole:].float()
        scales[-1] = rest.abs().max().clamp(min=SMALLEST_SCALE)
        scaled = torch.cat([rest / scales[-1], rest.new_zeros(len(rest) % 2)])
        packed[whole // 2 :] = pack(_nearest(scaled, data_type))


def _encode_chunk() -> int:
    """Half as many numbers with several threads: from 32,768 on torch calls its threads together, at each of some forty
    operations a chunk, and on a busy machine they wait for each other much longer than they work."""
    return CHUNK if torch.get_num_threads() == 1 else CHUNK // 2


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


def _decode_into_(flat: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, block_size: int, data_type: str,
                  chunk: int) -> None:
    """Chunk by chunk, in the cache: one lookup a byte, of the two values that it stands for, and one product.

    The loop is kept bare: at 1,024 x 1,024 a quarter of the time would be Python's.
    """
    per_byte, step = (1 if data_type == "int8" else 2), _chunk(flat, block_size, chunk)
    values = flat if flat.dtype == torch.float32 else torch.empty(min(step, len(flat)), device=flat.device)
    index = torch.empty(min(step, len(flat)) // per_byte, dtype=torch.int32, device=flat.device)
    for start in range(0, len(flat), step):
        out, codes = flat[start:start + step], packed[start // per_byte:(start + step) // per_byte]
        found = out if values is flat else values[:len(out)]
        if per_byte == 1:
            torch.div(codes, 127.0, out=found)
        else:
            place = index[:len(codes)].copy_(codes)
            torch.index_select(_pairs(data_type, flat.device), 0, place, out=found.view(torch.int64))
        first, whole = start // block_size, len(out) // block_size
        found[:whole * block_size].view(-1, block_size).mul_(scales[first:first + whole, None])
        if whole * block_size < len(out):
            found[whole * block_size:].mul_(scales[-1])
        if values is not flat:
            out.copy_(found)


@cache
def _pairs(data_type: str, device: torch.device) -> torch.Tensor:
    """For each byte the values of its two codes, as one number of 64 bits that holds two of 32."""
    values, byte = codebook(data_type), torch.arange(256)
    return torch.stack([values[byte >> 4], values[byte & 15]], 1).view(torch.int64)[:, 0].contiguous().to(device)


def _chunk(flat: torch.Tensor, block_size: int, numbers: int) -> int:
    """Whole blocks that fit the cache; everything at once where there is no such cache."""
    return block_size * max(1, (numbers if flat.device.type == "cpu" else len(flat)) // block_size)
