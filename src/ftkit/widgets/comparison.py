"""Methods side by side: rows of means with their spread, an order, and which rows no other beats.

Knows nothing about widgets, or how anything was measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ftkit.axes import COLOURS, MARKERS, finish_
from ftkit.cards import Card
from ftkit.errors import refusal, unknown
from ftkit.widgets.canvas import Canvas

NAME = "name"
BETTER = ("less", "more", "")


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Args:
        words: above it, with the unit.
        better: "less", "more", or "" where neither is.
        form: how a value is written.

    Raises:
        Refusal: `better` is another word.
    """

    words: str
    better: str = "less"
    form: str = ".3g"

    def __post_init__(self):
        if self.better not in BETTER:
            raise unknown("better", self.better, [repr(one) for one in BETTER])


COLUMNS = {
    "trainable_share": Column("trained, % of all", ""),
    "peak_gib": Column("peak memory of the process, GiB", form=".2f"),
    "rise_gib": Column("rise of memory while training, GiB", form=".2f"),
    "state_mb": Column("gradients and optimizer, MB"),
    "step_cpu_s": Column("processor seconds a step"),
    "train_s": Column("seconds of training"),
    "saved_mb": Column("file, MB"),
    "held_out_loss": Column("held-out loss"),
    "clinic": Column("clinic, held out", "more"),
    "test": Column("clinic, test", "more"),
    "general": Column("general exam", "more"),
    "forgetting": Column("forgotten of the general exam"),
}


@dataclass(frozen=True)
class Row:
    """A method: for each column the mean, the lowest and the highest over seeds, or an interval's ends."""

    name: str
    values: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Comparison:
    """Rows in an order.

    Args:
        rows: all of them.
        front: names of those that no other beats in all that matters.
        sorted_by: a column, or "name".
        descending: whether the largest is above.
        text: says who is on the front, and in what.
    """

    rows: tuple[Row, ...]
    front: tuple[str, ...]
    sorted_by: str
    descending: bool
    text: str


def rows_of(given: Mapping | Iterable) -> list[Row]:
    """The rows of what was measured.

    Args:
        given: names mapped to the cards of their seeds; or a list of cards, which are put together by method and
            settings; or mappings with a `name` and numbers, or estimates with value, low and high.

    Raises:
        Refusal: nothing, a row without a name, two rows of one name, or an entry that is none of these.
    """
    if isinstance(given, Mapping):
        rows = [Row(str(name), _of_cards(cards)) for name, cards in given.items()]
    else:
        given = list(given)
        if given and all(isinstance(one, Card) for one in given):
            return rows_of(_by_method(given))
        rows = [_of_mapping(one, place) for place, one in enumerate(given)]
    if not rows:
        raise refusal("rows", "at least one", "none", "Nothing has been measured yet.")
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise refusal("names of rows", "different", f"{twice!r} twice")
    return rows


def columns_of(rows: Sequence[Row], columns: Mapping[str, Column] | None) -> dict[str, Column]:
    """The columns that some row has; of those known if none are given.

    Raises:
        Refusal: no row has a column that was asked for, or there is none at all.
    """
    had = {key for row in rows for key in row.values}
    for key in columns or ():
        if key not in had:
            raise unknown("column", key, sorted(had))
    found = dict(columns) if columns else {key: one for key, one in COLUMNS.items() if key in had}
    if not found:
        raise refusal("rows", f"with one of {', '.join(COLUMNS)}", ", ".join(sorted(had)) or "no numbers",
                      "Say what they hold with columns={...}.")
    return found


def pareto(rows: Sequence[Row], columns: Mapping[str, Column]) -> tuple[str, ...]:
    """Names of the rows that no other beats: none is at least as good in all columns and better in one.

    A row that lacks one of the columns is left out.

    Args:
        columns: those that matter; each says what is better.

    Example:
        >>> rows = rows_of([{"name": "small", "mb": 1, "score": 0.5}, {"name": "good", "mb": 9, "score": 0.9},
        ...                 {"name": "neither", "mb": 9, "score": 0.4}])
        >>> pareto(rows, {"mb": Column("MB"), "score": Column("score", "more")})
        ('small', 'good')
    """
    signs = {key: 1 if column.better == "less" else -1 for key, column in columns.items()}
    whole = {row.name: [sign * row.values[key][0] for key, sign in signs.items()]
             for row in rows if signs.keys() <= row.values.keys()}

    def beats(one: Sequence[float], other: Sequence[float]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    return tuple(name for name, own in whole.items() if not any(beats(other, own) for other in whole.values()))


def compute(rows: Sequence[Row], columns: Mapping[str, Column], matters: Sequence[str] = (), sorted_by: str = NAME,
            descending: bool = False) -> Comparison:
    """The rows in order, and the front in what matters.

    Args:
        matters: columns in which to be good; none leaves every row on the front.
        sorted_by: a column, or "name" for the order in which they were given.
        descending: the largest first.

    Raises:
        Refusal: an unknown column, or one that matters though neither less nor more of it is better.
    """
    for key in (*matters, *([] if sorted_by == NAME else [sorted_by])):
        if key not in columns:
            raise unknown("column", key, columns)
    chosen = {key: columns[key] for key in matters}
    for key, column in chosen.items():
        if not column.better:
            raise refusal("matters", "columns of which less or more is better", key)
    ordered = list(rows)
    if sorted_by != NAME:
        ordered.sort(key=lambda row: (row.values[sorted_by][0] if sorted_by in row.values else -math.inf)
                     * (-1 if descending else 1))
        ordered.sort(key=lambda row: sorted_by not in row.values)  # those without a value come last either way
    elif descending:
        ordered.reverse()
    front = pareto(rows, chosen) if chosen else tuple(row.name for row in rows)
    return Comparison(tuple(ordered), front, sorted_by, descending, _said(front, chosen, len(rows)))


def cells(comparison: Comparison, columns: Mapping[str, Column]) -> list[list[str]]:
    """Each row as text: a mark for the front, the name, then mean and ends."""
    return [[("● " if row.name in comparison.front else "○ ") + row.name,
             *(_written(row.values.get(key), column) for key, column in columns.items())] for row in comparison.rows]


def picture(comparison: Comparison, columns: Mapping[str, Column], across: str, upwards: str) -> bytes:
    """All rows as points in two columns; those on the front are filled."""
    canvas = Canvas(1, height_inches=4.2)
    axes = canvas.axes[0]
    by_name = sorted(comparison.rows, key=lambda row: row.name)  # a method keeps its look however rows are sorted
    placed = [row for row in by_name if {across, upwards} <= row.values.keys()]
    for number, row in enumerate(placed):
        (x, *x_ends), (y, *y_ends) = row.values[across], row.values[upwards]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(x, y, xerr=_whiskers(x, x_ends), yerr=_whiskers(y, y_ends), color=colour, capsize=3, linewidth=1,
                      marker=MARKERS[number % len(MARKERS)], linestyle="none", markersize=8, label=row.name,
                      markerfacecolor=colour if row.name in comparison.front else "white")
    xs = [row.values[across][0] for row in placed]
    if xs and min(xs) > 0 and max(xs) > 20 * min(xs):
        axes.set_xscale("log")
    axes.margins(0.1)
    canvas.figure.subplots_adjust(right=0.68)
    finish_(axes, "Filled: on the front", columns[across].words, columns[upwards].words,
            legend={"loc": "center left", "bbox_to_anchor": (1, 0.5)})
    canvas.keep_()
    return canvas.png()


def told(comparison: Comparison, columns: Mapping[str, Column], across: str, upwards: str) -> str:
    """What the picture shows, for those who do not see it."""
    points = [f"{row.name} {row.values[across][0]:.3g}, {row.values[upwards][0]:.3g}" for row in comparison.rows
              if {across, upwards} <= row.values.keys()]
    return f"{columns[upwards].words} over {columns[across].words}: {'; '.join(points)}. {comparison.text}"


def _said(front: Sequence[str], chosen: Mapping[str, Column], count: int) -> str:
    if not chosen:
        return "Tick what matters: rows that another one beats in all of it drop off the front."
    of = " and ".join(f"{column.better} {column.words}" for column in chosen.values())
    return (f"On the front in {of}: {', '.join(front) or 'none'} ({len(front)} of {count}). Of means: a gap smaller "
            "than the seeds differ among themselves is none.")


def _written(value: tuple[float, float, float] | None, column: Column) -> str:
    if value is None:
        return ""
    middle, low, high = (f"{one:{column.form}}" for one in value)
    return middle if low == high else f"{middle} ({low} to {high})"


def _whiskers(middle: float, ends: Sequence[float]) -> list | None:
    low, high = ends
    return [[middle - low], [high - middle]] if low < high else None


def _of_cards(cards: Sequence[Card]) -> dict:
    found: dict[str, list[float]] = {}
    for card in cards:
        for key, value in _metrics(card).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found.setdefault(key, []).append(float(value))
    return {key: (fmean(values), min(values), max(values)) for key, values in found.items()}


def _metrics(card: Card) -> dict:
    found = dict(card.metrics)
    if found.get("total"):
        found.setdefault("trainable_share", 100 * found.get("trainable", 0) / found["total"])
    if {"peak_gib", "before_gib"} <= found.keys():
        found.setdefault("rise_gib", found["peak_gib"] - found["before_gib"])
    if "saved_bytes" in found:
        found.setdefault("saved_mb", found["saved_bytes"] / 1e6)
    if {"optimizer_bytes", "trainable"} <= found.keys():
        found.setdefault("state_mb", (found["optimizer_bytes"] + 4 * found["trainable"]) / 1e6)
    return found


def _by_method(cards: Sequence[Card]) -> dict[str, list[Card]]:
    settings = [{name: value for name, value in card.parameters.get("settings", {}).items() if name != "seed"}
                for card in cards]
    found: dict[str, list[Card]] = {}
    for card, own in zip(cards, settings, strict=True):
        method = card.parameters.get("method", card.name)
        same = [other for one, other in zip(cards, settings, strict=True) if one.parameters.get("method") == method]
        differ = [f"{name}={value}" for name, value in own.items() if any(other.get(name) != value for other in same)]
        found.setdefault(" ".join([str(method), *differ]), []).append(card)
    return found


def _of_mapping(one: object, place: int) -> Row:
    if not isinstance(one, Mapping) or NAME not in one:
        raise refusal(f"rows[{place}]", "a mapping with a name and numbers, or a run card", one)
    values = {}
    for key, value in one.items():
        number = getattr(value, "value", value)
        if key != NAME and isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            ends = [getattr(value, end, number) for end in ("low", "high")]
            values[key] = (float(number), *(float(number if math.isnan(end) else end) for end in ends))
    return Row(str(one[NAME]), values)
