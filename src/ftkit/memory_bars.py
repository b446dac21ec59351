"""What a training's memory is made of, as a bar of text and as stacked bars on Axes. Knows nothing about how it came.

Colours are Okabe and Ito's, which colour-blind readers tell apart; hatches say the same again.
"""

from collections.abc import Mapping, Sequence

from ftkit.axes import axes_or_new, finish_
from ftkit.errors import refusal
from ftkit.units import GIB, bytes_to_words

LOOKS = {"weights": ("#0072B2", ""), "adapters": ("#56B4E9", "//"), "optimizer": ("#009E73", ".."),
         "gradients": ("#F0E442", "\\\\"), "activations": ("#E69F00", ""), "attention": ("#D55E00", "xx"),
         "logits": ("#CC79A7", "++"), "scratch": ("#999999", ".."), "buffers": ("#000000", ""),
         "CUDA": ("#FFFFFF", "--")}
SIGNS = dict(zip(LOOKS, "#aog=%+.:c", strict=True))


def text_bar(parts: Mapping[str, int], total_bytes: int | None = None, width: int = 72) -> str:
    """Parts as one line of signs, each part with its own, and a legend below it.

    Args:
        parts: bytes by part.
        total_bytes: that the whole line stands for, such as a card's memory; the parts' sum if None or smaller.
        width: signs of the line.

    Example:
        >>> print(text_bar({"weights": 3 * 2**30, "activations": 2**30}, 8 * 2**30, width=8))
        |###=    |
        # weights 3.00 GiB  = activations 1.00 GiB
    """
    _check(parts)
    whole, line, reached = max(sum(parts.values()), total_bytes or 0) or 1, "", 0
    for part, size in parts.items():
        reached += size
        line += SIGNS[part] * max(0, round(width * reached / whole) - len(line))
    legend = "  ".join(f"{SIGNS[part]} {part} {bytes_to_words(size)}" for part, size in parts.items() if size)
    return f"|{line.ljust(width)}|\n{legend}"


def stacked_bars(rows: Sequence[tuple[str, Mapping[str, int]]], ax=None, *, card_bytes: int | None = None,
                 title: str = "Memory by part"):
    """The Axes with a stacked bar a row, in GiB, and a line where a card ends.

    Args:
        rows: pairs of a name and its bytes by part, top to bottom.
        ax: the Axes to draw on; None makes a figure.
        card_bytes: of the card; None draws no line.
        title: above the Axes.

    Raises:
        Refusal: no rows, or a part that has no colour here.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = stacked_bars([("qlora", {"weights": 2**30})], Figure().subplots())
        >>> [float(bar.get_width()) for bar in ax.patches]
        [1.0]
    """
    if not rows:
        raise refusal("rows", "at least one pair of a name and its parts", rows)
    ax, shown = axes_or_new(ax, height=1.6 + 0.5 * len(rows)), set()
    for place, (_, parts) in enumerate(rows):
        _check(parts)
        left = 0.0
        for part, size in parts.items():
            colour, hatch = LOOKS[part]
            ax.barh(place, size / GIB, left=left, color=colour, hatch=hatch, edgecolor="black", linewidth=0.5,
                    label="" if part in shown or not size else part)
            left += size / GIB
            shown |= {part} if size else set()
    if card_bytes:
        ax.axvline(card_bytes / GIB, color="black", linestyle="--", label=f"card: {bytes_to_words(card_bytes)}")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    finish_(ax, title, "GiB", "", legend={"loc": "upper left", "bbox_to_anchor": (1, 1)})
    return ax


def _check(parts: Mapping[str, int]) -> None:
    for part in parts:
        if part not in LOOKS:
            raise refusal("parts", f"named {', '.join(LOOKS)}", part)
