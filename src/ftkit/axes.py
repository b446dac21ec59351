"""What every plot is made of: Axes, looks, labels, and rows that are checked before they are drawn.

Knows nothing about any one kind of plot.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from ftkit.errors import nearest, refusal
from ftkit.fonts import draw_chinese_, legible

# Okabe and Ito 2008 without yellow, which is too pale on white; 7 colours and 8 markers make 56 different pairs
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
NAME_COLUMNS = 24  # a longer name is wrapped


def axes_or_new(ax, height: float = 3.6):
    """The Axes given, or those of a new figure."""
    from matplotlib import pyplot
    from matplotlib.axes import Axes

    if ax is None:
        return pyplot.subplots(figsize=(6.4, height), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise refusal("ax", "a matplotlib Axes, or None for a new figure", ax, "Of several, pass one: axes[0].")
    return ax


def look_of(number: int) -> dict:
    """Colour and marker of the so-manieth line, no two alike for a long while."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def finish_(ax, title: str, x_label: str, y_label: str, legend: Mapping | None = None) -> None:
    """Title, labels, legend with one entry a label; Chinese in a font that has it."""
    from matplotlib.text import Text

    ax.set_title(legible(title), fontsize=11, loc="left")
    ax.set(xlabel=legible(x_label), ylabel=legible(y_label))
    ax.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # one entry a label
    if handles:
        ax.legend(handles.values(), handles.keys(), frameon=False, fontsize=9, **(legend or {}))
    draw_chinese_(ax.findobj(Text))


def say_(ax, what: str | float, place: tuple[float, float], offset_points: tuple[int, int]) -> None:
    """Write above a place, or to the right of it where the offset is to the right."""
    right = offset_points[0] > 0
    if not isinstance(what, str):
        decimals = next((count for count, least in enumerate((100, 10, 0.1)) if abs(what) >= least), None)
        what = f"{what:.2g}" if decimals is None else f"{what:.{decimals}f}"
    ax.annotate(what, place, offset_points, textcoords="offset points", fontsize=9,
                ha="left" if right else "center", va="center" if right else "bottom")


def wrapped(name: str) -> str:
    """A name for an axis, in lines that stay short."""
    return "\n".join(textwrap.fill(line, NAME_COLUMNS) for line in legible(name).splitlines())


def rows_of(rows: Iterable, name: str, fields: Sequence[str]) -> list[Mapping]:
    """The rows as mappings that all have the fields; a plain sequence has them in their order."""
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise refusal(name, "a list of records", rows)
    rows = [row if isinstance(row, Mapping) or not isinstance(row, Sequence) or len(row) != len(fields)
            else dict(zip(fields, row, strict=True)) for row in rows]
    if not rows:
        raise refusal(name, "at least one record", rows, "Nothing has been measured yet.")
    for place, row in enumerate(rows):
        had = list(map(str, row)) if isinstance(row, Mapping) else []
        for field in fields:
            if field not in had:
                near = nearest(field, had)
                raise refusal(f"{name}[{place}]", f"a record with {', '.join(fields)}", ", ".join(had) or row,
                              f"It has no {field}." + (f" Is {near[0]} meant?" if near else ""))
    return rows


def number_in(row: Mapping, field: str, name: str, place: int) -> float:
    """The finite number in a field of a row."""
    try:
        value = float(row[field])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise refusal(f"{field} in {name}[{place}]", "a finite number", row[field])
    return value


def estimate_in(row: Mapping, field: str, name: str, place: int) -> tuple[float, float, float]:
    """Value, low and high; low and high are the value itself where there is no interval."""
    given = row[field]
    value = number_in({field: getattr(given, "value", given)}, field, name, place)
    low, high = (float(getattr(given, end, math.nan)) for end in ("low", "high"))
    if math.isnan(low) or math.isnan(high):
        return value, value, value
    if not low <= value <= high:
        raise refusal(f"{field} in {name}[{place}]", "between its low and high", given)
    return value, low, high
