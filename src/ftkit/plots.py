"""Records to matplotlib Axes: loss curves, before and after, methods side by side, seeds.

Every function draws on the Axes it is given, or on a new figure, and returns the Axes; none shows or saves anything.
Colours are Okabe and Ito's, which colour-blind readers tell apart, and marker, hatch or line say the same again.
Knows nothing about where the records come from, or what is good about a value.
"""

import textwrap
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev

from ftkit.axes import axes_or_new, estimate_in, finish_, look_of, number_in, rows_of, say_, wrapped
from ftkit.errors import refusal
from ftkit.fonts import draw_chinese_, legible

BEFORE, AFTER = "#E69F00", "#0072B2"
CAPTION_POINTS = 9


def loss_curve(trace: Iterable[Mapping], ax=None, *, label: str = "", title: str = "Loss while training"):
    """The Axes with one training's loss per step, and its held-out loss where it was measured.

    Called again with the same Axes it adds another training, in another colour and with another marker.

    Args:
        trace: records with `step` and `loss`, and `held_out_loss` (None where it was not measured).
        ax: the Axes to draw on; None makes a figure.
        label: the name of this training in the legend.
        title: above the Axes.

    Raises:
        Refusal: no records, a missing field, a value that is no finite number.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = loss_curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], Figure().subplots())
        >>> [float(value) for value in ax.lines[0].get_ydata()]
        [2.0, 1.0]
    """
    records = rows_of(trace, "trace", ("step", "loss"))
    steps = [number_in(record, "step", "trace", place) for place, record in enumerate(records)]
    losses = [number_in(record, "loss", "trace", place) for place, record in enumerate(records)]
    held_out = [(step, number_in(record, "held_out_loss", "trace", place))
                for place, (step, record) in enumerate(zip(steps, records, strict=True))
                if record.get("held_out_loss") is not None]
    ax, prefix = axes_or_new(ax), f"{legible(label)}: " if label else ""
    earlier = sum(line.get_gid() == "training" for line in ax.get_lines())
    ax.plot(steps, losses, linewidth=1, markevery=max(1, len(steps) // 8), markerfacecolor="white", markersize=5,
            label=f"{prefix}training", gid="training", **look_of(earlier))
    if held_out:
        ax.plot(*zip(*held_out, strict=True), linestyle="--", label=f"{prefix}held out", **look_of(earlier))
    finish_(ax, title, "optimizer step", "loss per label token (nats)")
    return ax


def before_after(rows: Iterable, ax=None, *, unit: str = "share of right answers", title: str = "Before and after"):
    """The Axes with two bars a row, before and after, each with its value and the whiskers of its interval.

    Args:
        rows: mappings with `name`, `before`, `after`, or triples of them; before and after are numbers, or estimates
            with `value`, `low` and `high` (nan where there is no interval).
        ax: the Axes to draw on; None makes a figure.
        unit: what the values are, with their unit.
        title: above the Axes.

    Raises:
        Refusal: no rows, a missing field, a value that is no finite number, or outside its interval.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = before_after([("clinic", 0.1, 0.9), ("everyday", 0.97, 0.91)], Figure().subplots())
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['clinic', 'everyday']
    """
    rows = rows_of(rows, "rows", ("name", "before", "after"))
    ax, width = axes_or_new(ax), 0.38
    looks = {"before": {"color": BEFORE, "hatch": "//"}, "after": {"color": AFTER}}
    for side, (column, look) in zip((-1, 1), looks.items(), strict=True):
        for place, row in enumerate(rows):
            value, low, high = estimate_in(row, column, "rows", place)
            middle = place + side * width / 2
            ax.bar(middle, value, width, edgecolor="black", linewidth=0.6, label=column if place == 0 else "", **look)
            if low < high:
                ax.errorbar(middle, value, [[value - low], [high - value]], color="black", capsize=4, linewidth=1)
            say_(ax, value, (middle, max(high, 0)), (0, 3))
    ax.set_xticks(range(len(rows)), [wrapped(str(row["name"])) for row in rows])
    ax.margins(y=0.12)
    finish_(ax, title, "", unit, legend={"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2})
    return ax


def scores(rows: Iterable, ax=None, *, unit: str = "share of right answers", title: str = "Methods side by side"):
    """The Axes with a line for each method: a dot at its score, the interval around it, the value beside it.

    Args:
        rows: mappings with `name` and `score`, or pairs of them, top to bottom; a score is a number, or an estimate
            with `value`, `low` and `high` (nan where there is no interval).
        ax: the Axes to draw on; None makes a figure.
        unit: what the values are, with their unit.
        title: above the Axes.

    Raises:
        Refusal: as `before_after` does.
    """
    rows = rows_of(rows, "rows", ("name", "score"))
    ax = axes_or_new(ax, height=1.2 + 0.45 * len(rows))
    for place, row in enumerate(rows):
        value, low, high = estimate_in(row, "score", "rows", place)
        whiskers = [[value - low], [high - value]] if low < high else None
        ax.errorbar(value, place, xerr=whiskers, linestyle="none", capsize=4, markersize=8, **look_of(place))
        say_(ax, value, (high, place), (7, 0))
    ax.set_yticks(range(len(rows)), [wrapped(str(row["name"])) for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.15)
    finish_(ax, title, unit, "")
    return ax


def seeds(points: Iterable, ax=None, *, unit: str = "share of right answers", title: str = "Each seed a dot"):
    """The Axes with a dot for each seed of each method, mean and spread beside them, and the live run marked.

    The spread is the standard deviation over seeds. A live run is compared with the others and not counted among them.

    Args:
        points: mappings with `value` and `seed`, and where there is more than one method `name`; `live` is true for
            what was run just now.
        ax: the Axes to draw on; None makes a figure.
        unit: what the values are, with their unit.
        title: above the Axes.

    Raises:
        Refusal: no points, a missing field, a value that is no finite number.
    """
    points = [{"name": "", **point} for point in rows_of(points, "points", ("seed", "value"))]
    names = list(dict.fromkeys(str(point["name"]) for point in points))
    ax = axes_or_new(ax)
    for number, point in enumerate(points):
        value, place = number_in(point, "value", "points", number), names.index(str(point["name"]))
        if point.get("live"):
            ax.plot(place + 0.3, value, "*", markersize=14, markerfacecolor="white", markeredgecolor="black",
                    label="run just now")
            say_(ax, f"seed {point['seed']}", (place + 0.3, value), (0, 8))
    for place, name in enumerate(names):
        kept = [float(point["value"]) for point in points if str(point["name"]) == name and not point.get("live")]
        beside = [place - 0.12 + 0.03 * (number - (len(kept) - 1) / 2) for number in range(len(kept))]  # none is hidden
        ax.plot(beside, kept, linestyle="none", label="one seed", **look_of(place))
        if len(kept) > 1:
            ax.errorbar(place + 0.12, fmean(kept), stdev(kept), color="black", marker="_", markersize=14, capsize=5,
                        linestyle="none", label="mean and standard deviation over seeds")
    ax.set_xticks(range(len(names)), [wrapped(name) for name in names])
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.margins(y=0.15)
    finish_(ax, title, "", unit)
    return ax


def lines(points: Iterable, ax=None, *, x_label: str, unit: str, title: str, logarithmic: str = ""):
    """The Axes with a line for each name: its values over x, with whiskers where there is an interval.

    Args:
        points: mappings with `name`, `x` and `value`, triples of them, or names mapped to pairs of x and value; a value
            is a number, or an estimate with `value`, `low` and `high` (nan where there is no interval).
        ax: the Axes to draw on; None makes a figure.
        x_label: what x is, with its unit.
        unit: what the values are, with their unit.
        title: above the Axes.
        logarithmic: which axes are: "", "x", "y" or "xy".

    Raises:
        Refusal: as `before_after` does; or x is no finite number.
    """
    if isinstance(points, Mapping):
        points = [(name, *point) for name, own in points.items() for point in own]
    points = rows_of(points, "points", ("name", "x", "value"))
    ax, found = axes_or_new(ax), {}
    for at, point in enumerate(points):
        row = number_in(point, "x", "points", at), *estimate_in(point, "value", "points", at)
        found.setdefault(str(point["name"]), []).append(row)
    for number, (name, rows) in enumerate(found.items()):
        xs, values, lows, highs = zip(*sorted(rows), strict=True)
        whiskers = [[value - low for value, low in zip(values, lows, strict=True)],
                    [high - value for value, high in zip(values, highs, strict=True)]]
        above = len(found) - 1 - number  # lines drawn over this one, which is wider and so shows under them
        ax.errorbar(xs, values, whiskers if lows != highs else None, capsize=3, label=legible(name), lw=1 + above,
                    markersize=5 + 2 * above, markerfacecolor="none", markevery=max(1, len(xs) // 16),
                    **look_of(number))
    for axis in logarithmic:
        getattr(ax, f"set_{axis}scale")("log")
    if "x" in logarithmic:  # ticks where the points are
        xs = sorted({row[0] for rows in found.values() for row in rows})
        ax.set_xticks(xs, [f"{x:g}" for x in xs])
        ax.set_xticks([], minor=True)
    finish_(ax, title, x_label, unit, legend={"loc": "upper left", "bbox_to_anchor": (1, 1)})  # over no line
    return ax


def lengths(counts: Iterable[float], ax=None, *, seq_len: int | None = None, title: str = "How long records are"):
    """The Axes with a histogram of tokens a record, the share of records up to each length, and the chosen length.

    Args:
        counts: tokens of each record.
        ax: the Axes to draw on; None makes a figure.
        seq_len: the length that was chosen; records on its right are cut.
        title: above the Axes.

    Raises:
        Refusal: no counts, or one that is no finite number.
    """
    rows = rows_of([{"tokens": count} for count in counts], "counts", ("tokens",))
    counts = sorted(number_in(row, "tokens", "counts", place) for place, row in enumerate(rows))
    ax, share = axes_or_new(ax), [(place + 1) / len(counts) for place in range(len(counts))]
    ax.hist(counts, bins=min(40, max(5, len(set(counts)))), weights=[1 / len(counts)] * len(counts), color=BEFORE,
            edgecolor="black", linewidth=0.4, label="records of about this length")
    ax.step([counts[0], *counts], [0, *share], where="post", color=AFTER, label="records up to this length")
    if seq_len is not None:
        kept = sum(count <= seq_len for count in counts) / len(counts)
        ax.axvline(seq_len, color="black", linestyle="--", label=f"seq_len = {seq_len}: {kept:.1%} stay whole")
    ax.set_ylim(0, 1.05)
    finish_(ax, title, "tokens of a record", "share of records",
            legend={"loc": "upper left", "bbox_to_anchor": (1, 1)})  # over no line
    return ax


def funnel(rows: Iterable, ax=None, *, title: str = "Records by step"):
    """The Axes with a bar for each step: the records that left it, and hatched behind them those that it dropped.

    Args:
        rows: mappings with `step`, `records_in` and `records_out`, in the order of the steps; a report's `rows()`.
        ax: the Axes to draw on; None makes a figure.
        title: above the Axes.

    Raises:
        Refusal: no rows, a missing field, a value that is no finite number, or more records out than in.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = funnel([{"step": "quality", "records_in": 10, "records_out": 8}], Figure().subplots())
        >>> [float(bar.get_width()) for bar in ax.patches]
        [8.0, 2.0]
    """
    rows = rows_of(rows, "rows", ("step", "records_in", "records_out"))
    counts = [[number_in(row, field, "rows", place) for field in ("records_in", "records_out")]
              for place, row in enumerate(rows)]
    ax = axes_or_new(ax, height=1.4 + 0.45 * len(rows))
    most = max(many for many, _ in counts)
    for place, (many, left) in enumerate(counts):
        if not 0 <= left <= many:
            raise refusal(f"records_out in rows[{place}]", f"between 0 and records_in, {many:g}", f"{left:g}")
        ax.barh(place, left, height=0.6, color=AFTER, label="left")
        ax.barh(place, many - left, left=left, height=0.6, facecolor="white", edgecolor=BEFORE, hatch="///",
                label="dropped")
        say_(ax, f"{left:,.0f}" + (f"  (-{many - left:,.0f})" if left < many else ""), (many, place), (7, 0))
    ax.set_yticks(range(len(rows)), [wrapped(str(row["step"])) for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.45 * most or 1)
    ax.locator_params(axis="x", nbins=5)
    finish_(ax, title, "records", "", legend={"loc": "upper left", "bbox_to_anchor": (1, 1)})
    return ax


def caption(ax_or_figure, text: str) -> None:
    """Write under the figure what to look at; a second caption takes the place of the first.

    Args:
        ax_or_figure: a matplotlib Axes or Figure.
        text: one sentence or two; wrapped to the figure's width.

    Raises:
        Refusal: neither Axes nor Figure, or an empty text.
    """
    figure = ax_or_figure.get_figure(root=True) if hasattr(ax_or_figure, "get_figure") else None
    if figure is None:
        raise refusal("ax_or_figure", "a matplotlib Axes or Figure", ax_or_figure, "Pass what the plot returned.")
    if not isinstance(text, str) or not text.strip():
        raise refusal("text", "a sentence that says what to look at", text)
    if figure.get_layout_engine() is None:  # without one the caption would lie over the axis label
        figure.set_layout_engine("constrained")
    columns = int(figure.get_figwidth() * 72 / (CAPTION_POINTS * 0.55))  # a letter is half as wide as high
    shown = figure.supxlabel(textwrap.fill(legible(text), columns), fontsize=CAPTION_POINTS, ha="center")
    draw_chinese_([shown])
