"""What makes a small model fast on a CPU: attention by plain products, memory kept, a thread for each part.

Knows nothing about losses or optimizers. `benchmarks/train_speed.py` measures what it is worth.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

LARGEST_SCORES_BYTES = 2**26  # of one layer's attention scores; beyond, torch's flash kernel saves more than it costs


@contextmanager
def attention_for(model: nn.Module, rows: int, width: int) -> Iterator[bool]:
    """While open, attention over short rows takes plain matrix products; yields whether it does.

    torch's flash kernel for CPUs takes many times as long at 64 tokens; over long rows it saves memory and is kept.

    Args:
        rows: of the batch.
        width: tokens of a row.
    """
    heads = getattr(getattr(model, "config", None), "num_attention_heads", None)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if heads and on_cpu and 4 * rows * heads * width * width <= LARGEST_SCORES_BYTES:
        with sdpa_kernel(SDPBackend.MATH):
            yield True
    else:
        yield False


def matmul_precision() -> str:
    """What `torch.set_float32_matmul_precision` is best set to for training here: "medium" or "highest".

    "medium" lets float32 products take their factors in bfloat16 and add up in float32. On a CPU with matrix units for
    bfloat16 (AMX) that is three times as fast at this kit's sizes; elsewhere it gains nothing.
    """
    return "medium" if torch.cpu.get_capabilities().get("amx_bf16") else "highest"


@contextmanager
def matmul(precision: str) -> Iterator[None]:
    """While open, products of float32 matrices have this precision, in torch's terms: "highest", "high" or "medium".

    Too many rounds for products so thin that they wait for memory anyway: open it with "highest" around those.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Workers:
    """Threads that each compute one part of a batch, on one torch thread each; made when first needed."""

    def __init__(self):
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable, parts: Sequence) -> list:
        """The results for all parts, in their order; one part is computed by the caller itself."""
        if len(parts) == 1:
            return [function(parts[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # a part of it is the whole process's
        try:
            return list(self._pool.map(function, parts))
        finally:
            torch.set_num_threads(before)


def reuse_freed_memory_() -> bool:
    """Whether this process now keeps the memory it frees for its next tensors, instead of giving it back each time.

    glibc returns large blocks to the system at once; asking for them again costs a page fault for every 4 KiB: about a
    sixth of a training step of the embedded base, and half of one of a 7B in 4 bits, whose weights are decoded into
    fresh blocks. Tensors take what they took; the process holds more, since what was freed in between lies beside what
    is in use (`benchmarks/memory_meter.py`). Does nothing without glibc 2.33 or newer.
    """
    library = _glibc()
    m_trim_threshold, m_mmap_threshold = -1, -3  # from malloc.h
    return bool(library and library.mallopt(m_mmap_threshold, 2**30) and library.mallopt(m_trim_threshold, 2**31 - 1))


def give_back_freed_memory_(beyond_bytes: int = 2**30) -> None:
    """Gives freed memory back to the system where the process keeps more of it than this.

    Blocks of another length each step leave gaps that no other block fits: gigabytes after a few steps of a 7B.
    """
    library = _glibc()
    if library and library.mallinfo2().fordblks > beyond_bytes:
        library.malloc_trim(0)


class _MallInfo(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]


@cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallinfo2.restype = _MallInfo
    except (OSError, AttributeError):
        return None
    return library
