"""Graphics cards: how much memory each has, which numbers it computes with, how fast at most, on how many watts.

Knows nothing about models. Memory is what the driver reports; rates are the vendors' for dense products with sums in
float32; of an Apple computer's memory it is what its system lets the graphics part take.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftkit.errors import refusal, unknown
from ftkit.files import read_json
from ftkit.memory.setup import Setup
from ftkit.units import GIB

MIB = 2**20
_OTHER_NAMES = {"v100": "v10016", "a100": "a10080", "3090": "rtx3090", "4090": "rtx4090", "apple": "applem16",
                "t416": "t4", "h10080": "h100", "h200141": "h200", "l40s48": "l40s", "a1024": "a10"}
_MAKERS = ("nvidia", "geforce", "tesla")


@dataclass(frozen=True)
class Gpu:
    """A graphics card.

    Args:
        name: as `ftkit plan --gpu` takes it.
        memory_bytes: that a program can have.
        types: of numbers that its matrix units or its arithmetic have.
        flops: operations a second at most, by type; empty where not stated.
        watts: under load; None where not known.
        generation: of its vendor.
    """

    name: str
    memory_bytes: int
    types: tuple[str, ...] = ("float32", "float16", "bfloat16")
    flops: Mapping[str, float] = field(default_factory=dict)
    watts: float | None = None
    generation: str = ""

    def refuses(self, setup: Setup) -> str:
        """The sentence that says what this card cannot compute with, and what to take; empty where there is nothing.

        Example:
            >>> gpu_named("T4").refuses(Setup(precision="bfloat16"))[:46]
            'T4 (Turing) has no bfloat16: take float16 for '
        """
        wanted = [kind for kind in (setup.precision, setup.mixed) if kind and kind not in self.types]
        if not wanted:
            return ""
        return (f"{self.name} ({self.generation}) has no {wanted[0]}: take float16 for the frozen weights, with what "
                "is trained in float32 and a loss scale. float16 ends at 65504: a model that was trained in bfloat16 "
                "may overflow, so look at its first losses.")


@cache
def known_gpus() -> tuple[Gpu, ...]:
    """All cards of the table.

    Example:
        >>> [gpu.name for gpu in known_gpus() if gpu.memory_bytes > 100 * 2**30]
        ['H200']
    """
    rows = read_json(Path(str(files("ftkit.memory") / "assets" / "gpus.json")))
    return tuple(Gpu(row["name"], row["memory_mib"] * MIB, tuple(row["types"]),
                     {kind: rate * 1e12 for kind, rate in row["tflops"].items()}, row["watts"], row["generation"])
                 for row in rows)


def gpu_named(name: str | float) -> Gpu:
    """The card with this name, or a card of so many gigabytes (GiB) of which nothing else is known.

    Raises:
        Refusal: no card has this name, and it is no number of gigabytes.

    Example:
        >>> gpu_named(24).memory_bytes == 24 * 2**30, gpu_named("a100").name
        (True, 'A100-80')
    """
    text = re.sub(r"(?<=\w)[\s_-]+(?=\w)", "", str(name).strip().lower())
    for maker in _MAKERS:
        text = text.removeprefix(maker)
    text = _OTHER_NAMES.get(text, _OTHER_NAMES.get(text.removesuffix("gb"), text))
    for gpu in known_gpus():
        if gpu.name.lower().replace("-", "") in (text, text.removesuffix("gb")):
            return gpu
    if re.fullmatch(r"(apple)?m\d.*", text):
        raise refusal("gpu", "Apple-M-16, Apple-M-64 or the gigabytes of its memory", name,
                      "Apple's computers come with memory of many sizes, of which three quarters are for graphics.")
    number = text.removesuffix("gib").removesuffix("gb")
    try:
        size_gib = float(number)
    except ValueError:
        raise unknown("gpu", name, [gpu.name for gpu in known_gpus()], "Or give its gigabytes, such as 24.") from None
    if not 0 < size_gib < 10_000:
        raise refusal("gpu", "a name, or a number of gigabytes above 0", name)
    return Gpu(f"{number} GB", round(size_gib * GIB))
