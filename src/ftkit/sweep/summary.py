"""What came out of a sweep: a table with a row a setting, and a figure of score against cost.

Knows nothing about how points are run; it may be asked at any time, and shows what is finished by then.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ftkit.axes import axes_or_new, finish_, look_of
from ftkit.errors import Refusal
from ftkit.files import write_atomic
from ftkit.fonts import legible
from ftkit.sweep import settings
from ftkit.sweep.settings import Setting

COSTS = ("train_s", "seconds", "elapsed_s")  # what a point cost; the first that is there
TABLE, TEXT, FIGURE = "table.csv", "table.md", "figure.png"
NAMED = 5  # so many of the best have a legend entry of their own
_OWN = ("seeds", "seed", "status", "error")  # columns of the table itself
_LABEL_LENGTH = 80  # characters of a legend entry
SEED_LOOK = {"linestyle": "none", "marker": ".", "color": "0.7", "zorder": 1}
_RATIO_FOR_LOG = 8  # from the smallest to the largest value of a parameter


def table(points: Iterable[Mapping], metric: str | None = None, lower: bool | None = None):
    """A pandas table with a row a setting, best first, then a row for each point that is not counted, and why.

    Columns: the parameters that differ, the metric's mean, `<metric> spread` (standard deviation over seeds), seeds,
    the means of all other numbers, status, error; a parameter of the name of a later column becomes `param.<name>`.
    Numbers of the test split are not in it: `compare` tells them once, of the setting that was chosen without them. A
    setting that lost seeds is ranked by the others, and its error says so.

    Args:
        metric: what is compared; None takes the held-out loss, or the only number there is.
        lower: whether less of it is better; None goes by its name.

    Raises:
        Refusal: the metric is of the test split, or no finished point has it.
    """
    import pandas

    points = list(points)
    metric = metric or settings.default_metric(points)
    others = [one for one in settings.numbers_in(points) if one not in (metric, *_OWN) and not settings.is_test(one)]
    taken = {metric, f"{metric} spread", *others, *_OWN}
    names = {name: f"param.{name}" if name in taken else name for name in settings.differing(points)}
    rows = [{**_named(one.parameters, names), metric: one.mean, f"{metric} spread": one.spread,
             "seeds": len(one.scores), **{name: one.mean_of(name) for name in others}, "status": "done",
             "error": lost_words(one, metric) or None}
            for one in settings.ranked(points, metric, lower)]
    rows += _rest(points, metric, names)
    columns = [*names.values(), metric, f"{metric} spread", "seeds", *others, "seed", "status", "error"]
    return pandas.DataFrame(rows, columns=columns)


def lost_words(setting: Setting, metric: str) -> str:
    """Which seeds of a setting its mean is without; empty where it has all that came to an end."""
    seeds = ", ".join(map(str, setting.lost))
    return f"without seed {seeds}: failed, or no finite {metric}" if seeds else ""


def write(folder: str | Path, points: Iterable[Mapping], metric: str | None = None, lower: bool | None = None):
    """The table, written into the sweep's folder as table.csv and table.md.

    Under table.md stands which way the settings are ordered. Where there is nothing to compare by yet, the points stand
    in it with their status and no more, and table.md says why: a summary is no reason for a sweep to stop.

    Raises:
        DiskFull: there is no room; the table that was there is whole.
    """
    folder, points = Path(folder), list(points)
    try:
        metric = metric or settings.default_metric(points)
        found = table(points, metric, lower)
        less = settings.lower_is_better(metric) if lower is None else lower
        note = f"\nBest first by {metric}: {'lower' if less else 'higher'} is better.\n"
        if len({point["source"] for point in points if point["status"] == "done" and point.get("source")}) > 1:
            note += "\nIt was changed meanwhile: not all rows are of the same code, see `source` in each point.json.\n"
    except Refusal as error:
        import pandas

        names = {name: f"param.{name}" if name in _OWN else name for name in settings.differing(points)}
        found, note = pandas.DataFrame(_rest(points, None, names)), f"\n{error}\n"
    write_atomic(folder / TABLE, found.to_csv(index=False))
    write_atomic(folder / TEXT, f"{as_markdown(found)}{note}")
    return found


def as_markdown(found) -> str:
    """A pandas table in Markdown: numbers in four figures, nothing where there is nothing."""
    import pandas

    lines = [list(found.columns), ["---"] * len(found.columns)]
    for row in found.astype(object).itertuples(index=False):
        lines.append(["" if pandas.api.types.is_scalar(cell) and pandas.isna(cell) else _cell(cell) for cell in row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if len(found.columns) else "No point yet.\n"


def figure(points: Iterable[Mapping], metric: str | None = None, cost: str | None = None, ax=None, *,
           lower: bool | None = None, title: str = "Score and cost of each setting"):
    """The Axes with a dot for each seed and a larger mark for each setting's mean, best in the legend first.

    Over the cost of a point; but where one numeric parameter is all that differs, over that parameter, as a line.

    Args:
        metric: what is compared; None as in `table`.
        cost: a metric, such as "train_s" or "trainable"; None takes the seconds that a point took.
        ax: the Axes to draw on; None makes a figure.
        lower: whether less of the metric is better; None goes by its name.
        title: above the Axes.

    Raises:
        Refusal: as `table` does; or no finished point has the cost.
    """
    points = list(points)
    metric = metric or settings.default_metric(points)
    points = [_with_elapsed(point) for point in points]
    found, names = settings.ranked(points, metric, lower), settings.differing(points)
    ax = axes_or_new(ax)
    if len(names) == 1 and all(_is_number(one.parameters.get(names[0])) for one in found):
        return _over_parameter(ax, found, names[0], metric, title)
    cost = cost or next((one for one in COSTS if one in settings.numbers_in(points)), None)
    if cost is not None:
        settings.check_metric(points, cost)
    return _over_cost(ax, found, names, metric, cost, title)


def draw(folder: str | Path, points: Iterable[Mapping], metric: str | None = None, lower: bool | None = None,
         cost: str | None = None) -> Path | None:
    """The file figure.png in the sweep's folder; None where nothing is finished that could be drawn.

    Raises:
        DiskFull: there is no room.
    """
    from io import BytesIO

    from matplotlib.figure import Figure

    points = list(points)
    if not settings.numbers_in(points):
        return None
    drawn, raw = Figure(figsize=(8, 4.5), layout="constrained"), BytesIO()
    try:
        figure(points, metric, cost, drawn.subplots(), lower=lower)
    except Refusal:
        return None
    drawn.savefig(raw, format="png", dpi=120)
    return write_atomic(Path(folder) / FIGURE, raw.getvalue())


def _over_parameter(ax, found: Sequence[Setting], name: str, metric: str, title: str):
    found = sorted(found, key=lambda one: one.parameters[name])
    xs = [one.parameters[name] for one in found]
    for x, one in zip(xs, found, strict=True):
        ax.plot([x] * len(one.scores), list(one.scores.values()), label="one seed", **SEED_LOOK)
    ax.plot(xs, [one.mean for one in found], label="mean over seeds", markerfacecolor="white", **look_of(0))
    if len(xs) > 2 and min(xs) > 0 and max(xs) >= _RATIO_FOR_LOG * min(xs):
        ax.set_xscale("log")
        ax.set_xticks(xs, [f"{x:g}" for x in xs])
        ax.set_xticks([], minor=True)
    finish_(ax, title, name, metric)
    return ax


def _over_cost(ax, found: Sequence[Setting], names: Sequence[str], metric: str, cost: str | None, title: str):
    for place, one in reversed(list(enumerate(found))):  # the best is drawn last, over the others
        x = one.mean_of(cost) if cost else place + 1
        if x is None:
            continue
        ax.plot([x] * len(one.scores), list(one.scores.values()), label="one seed", **SEED_LOOK)
        named = place < NAMED
        look = look_of(place) if named else {"color": "0.5", "marker": "o", "markerfacecolor": "none"}
        words = _entry(f"{place + 1}. {label_of(one.parameters, names)}") if named else "mean of another setting"
        ax.plot(x, one.mean, linestyle="none", markersize=8, label=words, **look)
    finish_(ax, title, cost or "place", metric, legend={"loc": "upper left", "bbox_to_anchor": (1, 1)})
    return ax


def _entry(text: str) -> str:
    """The text as a legend can hold it: short, no formula, no letter that no font has."""
    text = " ".join(text.split())
    return legible(text if len(text) <= _LABEL_LENGTH else f"{text[:_LABEL_LENGTH - 1]}…").replace("$", r"\$")


def label_of(parameters: Mapping, names: Iterable[str]) -> str:
    """The parameters that differ, in few words.

    Example:
        >>> label_of({"rank": 8, "alpha": 16, "seed": 0}, ["rank", "alpha"])
        'rank 8, alpha 16'
    """
    return ", ".join(f"{name} {_cell(parameters[name])}" for name in names if name in parameters) or "all alike"


def _rest(points: Sequence[Mapping], metric: str | None, names: Mapping[str, str]) -> list[dict]:
    left = settings.left_out(points, metric) if metric else points
    return [{**_named(one["parameters"], names), "seed": one["parameters"].get("seed"), "status": one["status"],
             "error": one.get("error")} for one in left]


def _named(parameters: Mapping, names: Mapping[str, str]) -> dict:
    """The values of the parameters, by their columns."""
    flat = settings.setting_of(parameters)
    return {column: value if isinstance(value := flat.get(name), int | float | str | None) else json.dumps(value)
            for name, column in names.items()}


def _with_elapsed(point: Mapping) -> dict:
    seconds = {} if point.get("elapsed_s") is None else {"elapsed_s": point["elapsed_s"]}
    return {**point, "metrics": {**seconds, **(point.get("metrics") or {})}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return " ".join(text.replace("|", "\\|").split())
