"""What quantisation does to one matrix: its values and their codes, the error and the bits.

Knows nothing about widgets.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from ftkit.axes import COLOURS, finish_
from ftkit.errors import refusal
from ftkit.quant import blocks
from ftkit.quant.codebooks import DATA_TYPES, codebook
from ftkit.widgets.canvas import Canvas

SIDE = 256
_BINS = 81


@dataclass(frozen=True)
class QuantView:
    """A matrix in one data type.

    Args:
        data_type: of the codes.
        block_size: numbers that share a scale.
        double: whether the scales are quantised too.
        levels: the values that codes stand for, rising, as shares of a block's largest.
        shares: of the numbers, by level.
        heights: of a histogram of the numbers, as shares of their block's largest, over 81 equal parts of -1 to 1.
        rmse_percent: the root of the mean squared error, in percent of the standard deviation.
        bits: stored for each number, scales and all.
    """

    data_type: str
    block_size: int
    double: bool
    levels: tuple[float, ...]
    shares: tuple[float, ...]
    heights: tuple[float, ...]
    rmse_percent: float
    bits: float

    @property
    def text(self) -> str:
        """The view in a sentence."""
        doubly = ", scales quantised too" if self.double else ""
        unused = sum(share == 0 for share in self.shares)
        return (f"{self.data_type}, blocks of {self.block_size}{doubly}: {self.bits:.4g} bits a number, an error of "
                f"{self.rmse_percent:.3g} % of the standard deviation. {len(self.levels) - unused} of "
                f"{len(self.levels)} values are in use.")


def drawn_weight(seed: int) -> torch.Tensor:
    """A matrix from a normal distribution, 256 x 256."""
    return torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def compute(weight: torch.Tensor, data_type: str = "nf4", block_size: int = 64, double: bool = False) -> QuantView:
    """What a data type and a block size make of a matrix.

    Args:
        weight: a tensor of numbers, on a CPU.
        data_type: "nf4", "fp4", "e2m1", "e3m0", "int4" or "int8".
        block_size: even, 2 or more.
        double: whether the scales are quantised too.

    Raises:
        Refusal: as `quant.blocks.quantise` does.

    Example:
        >>> compute(torch.tensor([[0.0, 3.0], [-2.0, 0.5]]), "int4", block_size=2).bits
        20.0
    """
    quantised = blocks.quantise(weight, data_type, block_size, double)
    flat, back = weight.float().flatten(), blocks.dequantise(quantised).float().flatten()
    scales = blocks.scales_of(quantised).repeat_interleave(block_size)[:len(flat)]
    codes = blocks.codes_of(quantised).flatten().long()
    if data_type == "int8":
        values, codes = torch.arange(-127, 128) / 127, codes + 127
    else:
        values = codebook(data_type)
    counts = torch.bincount(codes, minlength=len(values)).double() / len(flat)
    levels, place = values.unique(return_inverse=True)  # fp4 has two codes for zero
    shares = torch.zeros(len(levels), dtype=torch.float64).index_add_(0, place, counts)
    scaled = (flat / scales.clamp(min=1e-38)).clamp(-1, 1)  # scales that come from codes can be a little too small
    heights = torch.histc(scaled, _BINS, -1, 1) / len(flat)
    error = (flat - back).pow(2).mean().sqrt() / flat.std(correction=0)
    return QuantView(data_type, block_size, double, tuple(levels.tolist()), tuple(shares.tolist()),
                     tuple(heights.tolist()), 100 * error.item(), blocks.bits_per_number(quantised))


def table(weight: torch.Tensor, chosen: QuantView) -> tuple[list[str], list[list[str]]]:
    """Headers and a row for each data type, at the chosen block size."""
    rows = []
    for name in DATA_TYPES:
        one = chosen if name == chosen.data_type else compute(weight, name, chosen.block_size, chosen.double)
        rows.append([name + (" (chosen)" if one is chosen else ""), f"{one.bits:.4g}", f"{one.rmse_percent:.3g}"])
    return ["data type", "bits a number", "error, % of the standard deviation"], rows


@lru_cache(maxsize=64)
def picture(view: QuantView) -> bytes:
    """The view as a picture: numbers against what their codes stand for, and how many take each code."""
    canvas = Canvas()
    _draw_stairs_(canvas.axes[0], view)
    _draw_counts_(canvas.axes[1], view)
    canvas.keep_()
    return canvas.png()


def told(view: QuantView) -> str:
    """What the picture shows, for those who do not see it."""
    most = max(range(len(view.levels)), key=lambda place: view.shares[place])
    steps = [high - low for low, high in zip(view.levels, view.levels[1:], strict=False)]
    return (f"{view.text} Left, a staircase of {len(view.levels)} steps, the widest {max(steps):.3g} of a block's "
            f"largest number, the narrowest {min(steps):.3g}. Right, a histogram of the numbers, with a line at each "
            f"value: the most, {view.shares[most]:.1%}, become {view.levels[most]:.3g}.")


def _draw_stairs_(axes, view: QuantView) -> None:
    levels = view.levels
    middles = [-1, *((low + high) / 2 for low, high in zip(levels, levels[1:], strict=False)), 1]
    axes.plot([-1, 1], [-1, 1], "--", color="#6B6B6B", linewidth=1, label="no error")
    axes.stairs(levels, middles, baseline=None, color=COLOURS[0], linewidth=1.6, label="what comes back")
    axes.plot(levels, levels, linestyle="none", marker="o", markersize=4 if len(levels) < 32 else 1.5,
              color=COLOURS[1], label="values of the codes")
    finish_(axes, f"{view.data_type}: in and out", "number, as a share of its block's largest",
            "what its code stands for")


def _draw_counts_(axes, view: QuantView) -> None:
    edges = [-1 + 2 * place / _BINS for place in range(_BINS + 1)]
    axes.stairs([100 * height for height in view.heights], edges, fill=True, color=COLOURS[4], alpha=0.6,
                label="numbers, in 81 bins")
    axes.vlines(view.levels, 0, [100 * share for share in view.shares], color=COLOURS[1], linewidth=1.2,
                label="become this value")
    axes.plot(view.levels, [100 * share for share in view.shares], linestyle="none", marker="o", color=COLOURS[1],
              markersize=4 if len(view.levels) < 32 else 1.5)
    axes.set_ylim(0, 140 * max(*view.shares, *view.heights))  # room for the legend
    finish_(axes, f"Who takes which value, blocks of {view.block_size}", "share of the block's largest",
            "% of numbers", legend={"loc": "upper center", "ncols": 2})


def parse_block_size(text: str) -> int:
    """A block size that somebody typed.

    Raises:
        Refusal: no even whole number, 2 or more.
    """
    if not text.strip().isdecimal() or int(text) < 2 or int(text) % 2:
        raise refusal("block_size", "an even whole number, 2 or more", text, "Take 64 to begin with.")
    return int(text)
