"""Quantising and dequantising beside bitsandbytes, on the same matrices of this processor.

    python benchmarks/quant.py [--repeats 15]

Both are called in turn in one process, so that a busy machine slows both alike; a row holds the median of the ratios
of two neighbouring calls, and its quartiles. The two are checked to give the same bytes and the same values before
they are timed. Prints a table and writes benchmarks/results/quant.json.

What our functions do about speed: codes are found by fifteen comparisons over a chunk in the cache where bitsandbytes
searches (`torch.bucketize`). Dequantising looks up both values of a byte at once in a table of 256 pairs, a chunk at a
time; bitsandbytes has a kernel of its own in C++ for it, which with AVX-512 looks up 16 values in one instruction.
"""

import argparse
import statistics
import time

import bitsandbytes.functional as bnb
import torch

from ftkit.quant.blocks import bits_per_number, dequantise, quantise

SIZES = (256, 1024, 4096)
BLOCK_SIZE = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def ratios(theirs, ours, repeats: int) -> dict:
    """How many times as fast ours is: median and quartiles over pairs of calls, and the median milliseconds of each."""
    pairs = []
    for repeat in range(repeats + 2):
        pair = timed(theirs), timed(ours)
        if repeat >= 2:  # the first two warm caches and tables
            pairs.append(pair)
    each = [one / other for one, other in pairs]
    low, middle, high = statistics.quantiles(each, n=4)
    return {"ratio": middle, "ratio_low": low, "ratio_high": high,
            "theirs_ms": 1e3 * statistics.median(one for one, _ in pairs),
            "ours_ms": 1e3 * statistics.median(other for _, other in pairs)}


def timed(function) -> float:
    """Seconds of one call, with torch's threads awake: threads of another kind before it may have put them to sleep."""
    torch.ones(2**20).add_(1)
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure(size: int, data_type: str, dtype: str, threads: int, repeats: int) -> list[dict]:
    """A row for quantising and one for dequantising a square matrix."""
    torch.set_num_threads(threads)
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(DTYPES[dtype])
    packed, state = bnb.quantize_4bit(matrix, blocksize=BLOCK_SIZE, quant_type=data_type)
    ours = quantise(matrix, data_type, BLOCK_SIZE)
    assert torch.equal(ours.packed, packed) and torch.equal(ours.scales, state.absmax)
    assert torch.equal(dequantise(ours), bnb.dequantize_4bit(packed, state))
    here = {"size": size, "data_type": data_type, "dtype": dtype, "threads": threads}
    few = max(3, repeats // 3) if size >= 4096 else repeats
    return [
        here | {"what": "quantise"} | ratios(
            lambda: bnb.quantize_4bit(matrix, blocksize=BLOCK_SIZE, quant_type=data_type),
            lambda: quantise(matrix, data_type, BLOCK_SIZE), few),
        here | {"what": "dequantise"} | ratios(
            lambda: bnb.dequantize_4bit(packed, state), lambda: dequantise(ours), 4 * few),
    ]


def stored_bits() -> dict:
    """Bits a number of a stored 4096 × 4096 matrix, scales and all."""
    matrix = torch.randn(4096, 4096, generator=torch.Generator().manual_seed(0))
    return {f"{data_type}{' double' if double else ''}": bits_per_number(quantise(matrix, data_type, double=double))
            for data_type in ("nf4", "fp4", "int8") for double in (False, True)}


def main() -> None:
    """Measures every combination and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    rows = []
    for threads in (1, 2):
        for size in SIZES:
            for data_type in ("nf4", "fp4"):
                for dtype in DTYPES:
                    rows += measure(size, data_type, dtype, threads, given.repeats)
                    for row in rows[-2:]:
                        print(f"{row['what']:10s} {size:5d}² {data_type} {dtype:8s} threads {threads}  "
                              f"x{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})  "
                              f"{row['theirs_ms']:.2f} ms there, {row['ours_ms']:.2f} ms here", flush=True)
    bits = stored_bits()
    print("  ".join(f"{name}: {value:.4f} bits" for name, value in bits.items()))
    from results import write

    write("quant", {"block_size": BLOCK_SIZE, "rows": rows, "bits_per_number": bits})


if __name__ == "__main__":
    main()
