"""What a checkpoint takes: on the disk, and loaded; and whether there is room for it here.

Knows nothing about how a model is loaded or trained: it reads the headers of the weight files and no weights. What a
training needs beside the weights is a subject of its own.
"""

import math
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from ftkit import checkpoints
from ftkit.errors import refusal, unknown
from ftkit.units import bytes_to_words

BYTES_A_WEIGHT = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "fp4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a quantised weight: its code, and its share of what the scales take (blocks of 64, scales in 8 bits)."""

_TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_EXPERT = re.compile(r"\.experts\.\d+\.")  # one file entry each, and one block of all of them once loaded
_TABLE = re.compile(r"(^|\.)(\w*embed\w*|wte|wpe|lm_head|output_layer)\.weight$")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Loaded:
    """What a loaded model takes.

    Args:
        weight_bytes: of its weights.
        passing_bytes: of what is there for a moment while the largest matrix is quantised; 0 where none is.
    """

    weight_bytes: int
    passing_bytes: int

    @property
    def needed_bytes(self) -> int:
        """The most that loading takes at any moment."""
        return self.weight_bytes + self.passing_bytes


def loaded(folder: str | Path, dtype: torch.dtype | None = None, quantization: str | None = None,
           unquantised: Iterable[str] = ()) -> Loaded:
    """What the model in a checked folder takes once it is loaded.

    Args:
        dtype: of the numbers that are not quantised; None leaves them as they are stored.
        quantization: None, "nf4", "fp4" or "int8": what the linear layers become, the head and the embeddings apart,
            and the experts of a mixture, which transformers joins to blocks that nothing quantises.
        unquantised: runs of whole parts of a path, as for `quantization.paths_left`: what stays as it is.

    Raises:
        Refusal: another quantization.
    """
    if quantization is not None and quantization not in BYTES_A_WEIGHT:
        raise unknown("quantization", quantization, ["None", *BYTES_A_WEIGHT])
    config, total, passing = checkpoints.read_object(Path(folder) / "config.json"), 0.0, 0
    rows_of_tables = {config.get("vocab_size"), config.get("padded_vocab_size")}
    for name, one in checkpoints.tensors(folder).items():
        numbers = math.prod(one.shape)
        if quantization and one.kind in _TYPES and _is_linear(name, one.shape, rows_of_tables, unquantised):
            total += numbers * BYTES_A_WEIGHT[quantization]
            passing = max(passing, 2 * one.size_bytes)  # as stored, and a copy on its way
        else:
            total += numbers * dtype.itemsize if dtype and one.kind in _TYPES else one.size_bytes
    return Loaded(round(total), passing)


def stored_dtype(folder: str | Path) -> torch.dtype:
    """The floating-point type in which most of a checkpoint's numbers are stored.

    Raises:
        Refusal: there are none.
    """
    numbers: dict[str, int] = {}
    for one in checkpoints.tensors(folder).values():
        if one.kind in _TYPES:
            numbers[one.kind] = numbers.get(one.kind, 0) + math.prod(one.shape)
    if not numbers:
        raise refusal(f"{Path(folder).name}: weights", f"stored as one of {', '.join(_TYPES)}", "none of these",
                      "It may be quantised already: load it as its authors say.")
    return _TYPES[max(numbers, key=numbers.get)]


def free_memory_bytes(device: torch.device | str = "cpu") -> int:
    """What can be allocated on a device now; on a CPU no more than what a container leaves to this process."""
    device = torch.device(device)
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return min([psutil.virtual_memory().available, *_left_in_container()])


def refuse_small_memory(name: str, needed: Loaded, device: torch.device | str, remedy: str) -> None:
    """Nothing, if a model can be loaded on a device.

    Raises:
        Refusal: it does not fit; the sentence has the numbers.
    """
    free = free_memory_bytes(device)
    if needed.needed_bytes > free:
        where = "GPU memory" if torch.device(device).type == "cuda" else "memory"
        raise refusal(f"free {where}", f"{bytes_to_words(needed.needed_bytes)} or more to load {name}, of which "
                      f"{bytes_to_words(needed.weight_bytes)} stay taken", bytes_to_words(free), remedy)


def refuse_small_disk(folder: str | Path, what: str, needed_bytes: int, remedy: str = "") -> None:
    """Nothing, if a disk has room for what is about to be written into a folder.

    Args:
        folder: where it will be written; it need not exist.
        what: what is written, in words.

    Raises:
        Refusal: it has not; the sentence has the numbers.
    """
    folder = Path(folder).expanduser().resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes > free:
        raise refusal(f"free disk space for {folder.name}", f"{bytes_to_words(needed_bytes)} or more for {what}",
                      bytes_to_words(free), f"Free some space, or choose a folder on another disk. {remedy}".strip())


def _is_linear(name: str, shape: tuple[int, ...], rows_of_tables: set, unquantised: Iterable[str]) -> bool:
    """Whether a tensor is the matrix of a linear layer that is quantised."""
    return (len(shape) == 2 and name.endswith("weight") and shape[0] not in rows_of_tables
            and not _TABLE.search(name) and not _EXPERT.search(name)
            and not any(f".{part}." in f".{name}" for part in unquantised))


def _left_in_container() -> list[int]:
    """What the limit of a Linux container leaves; nothing without one. Pages of files can be taken back."""
    try:
        limit = (_CGROUP / "memory.max").read_text("ascii").strip()
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return []
    return [int(limit) - used + int(stat.get("inactive_file", 0))] if limit.isdigit() else []
