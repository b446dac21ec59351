"""The picture of a grid of trials: curves of what is shown against the default, and score against cost of all.

Limits belong to the grid, not to the choice, so that two choices can be compared by eye. Knows nothing about widgets.
"""

from collections.abc import Mapping, Sequence

from ftkit.axes import COLOURS, finish_
from ftkit.cards import Card
from ftkit.widgets.canvas import Canvas
from ftkit.widgets.grid import SEED, Grid, Setting, View, apart
from ftkit.widgets.measures import MEASURES

DEFAULT_LOOK = {"color": "#6B6B6B", "linestyle": "--", "linewidth": 1.2}
_HERE = {"color": COLOURS[1], "marker": "^", "linestyle": "none"}


class GridPicture:
    """Draws views of one grid.

    Args:
        grid: what was measured.
        cost: a metric, to the right.
        score: a metric, upwards.
        trained: cards that were made here and not shipped.
        highest: a loss that has to have room, such as the first of a training that runs.
    """

    def __init__(self, grid: Grid, cost: str, score: str, trained: Sequence[Card] = (), highest: float = 0.0):
        self._grid, self._cost, self._score = grid, cost, score
        self._canvas = Canvas()
        self._curves, self._points = self._canvas.axes
        self._draw_curves_(grid, highest)
        self._draw_points_(grid, [id(card) for card in trained])
        self._canvas.keep_()
        self._lines = [self._curves.plot([], [], color=COLOURS[0], animated=True)[0]
                       for _ in range(max(len(setting.cards) for setting in grid.settings))]
        self._live = [self._curves.plot([], [], animated=True, color=COLOURS[1], **look)[0]
                      for look in ({"linewidth": 0.8, "marker": "."}, {"marker": "^", "linewidth": 2})]
        self._mark = self._points.plot([], [], "*", markersize=18, color=COLOURS[1], markeredgecolor="black",
                                       animated=True)[0]

    def png(self, view: View, live: Sequence[Mapping] = ()) -> bytes:
        """The picture of a view.

        Args:
            view: what is shown.
            live: records of a training that runs, as far as it is.
        """
        cards = list(view.shown.cards)
        for place, line in enumerate(self._lines):
            card = cards[place] if place < len(cards) else None
            is_chosen = card is not None and card.seed == view.chosen[SEED]
            line.set(data=_curve(card), linewidth=2.5 if is_chosen else 1.2, marker="o" if is_chosen else "",
                     markersize=4)
        self._live[0].set_data(*_columns([(one["step"], one["loss"]) for one in live]))
        self._live[1].set_data(*_columns([(one["step"], one["held_out_loss"]) for one in live
                                          if one["held_out_loss"] is not None]))
        place = _place(view.shown, self._cost, self._score)
        self._mark.set_data(*_columns([place] if place else []))
        return self._canvas.png([*self._lines, *self._live, self._mark])

    def _draw_curves_(self, grid: Grid, highest: float) -> None:
        axes, curves = self._curves, [_curve(card) for setting in grid.settings for card in setting.cards]
        for place, card in enumerate(grid.default.cards):
            axes.plot(*_curve(card), label="default, each seed" if not place else None, **DEFAULT_LOOK)
        axes.plot([], [], color=COLOURS[0], linewidth=2, label="shown, each seed (chosen one thick)")
        axes.plot([], [], color=COLOURS[1], marker="^", label="training now: steps, held out")
        losses = sorted(loss for _, ys in curves for loss in ys if loss > 0)
        if losses:
            axes.set_xlim(0, max((xs[-1] for xs, _ in curves if xs), default=1) * 1.03)
            axes.set_yscale("log")
            axes.set_ylim(losses[0] / 1.2, max(losses[-1], highest) * 1.2)
            _plain_ticks_(axes.yaxis)
        finish_(axes, "Held-out loss while training", "optimizer step", "nats per label token",
                legend={"loc": "upper right"})

    def _draw_points_(self, grid: Grid, trained: Sequence[int]) -> None:
        axes, kinds = self._points, {"measured, mean over seeds": [], "default": [], "with a run made here": []}
        for setting in grid.settings:
            here = any(id(card) in trained for card in setting.cards)
            kind = "with a run made here" if here else "default" if setting is grid.default else list(kinds)[0]
            kinds[kind].append(_place(setting, self._cost, self._score))
        looks = ({"color": COLOURS[4], "marker": "o"}, {"color": "black", "marker": "s"}, _HERE)
        for (name, places), look in zip(kinds.items(), looks, strict=True):
            places = [place for place in places if place]
            if places:
                axes.plot(*_columns(places), label=name, **{"linestyle": "none", "markersize": 6, **look})
        axes.plot([], [], "*", markersize=12, color=COLOURS[1], markeredgecolor="black", label="shown")
        costs = [place[0] for setting in grid.settings if (place := _place(setting, self._cost, self._score))]
        if costs and min(costs) > 0 and max(costs) > 10 * min(costs):
            axes.set_xscale("log")
        axes.margins(0.1)
        self._give_room_(axes, [place[1] for setting in grid.settings
                                if (place := _place(setting, self._cost, self._score))])
        cost, score = MEASURES[self._cost], MEASURES[self._score]
        finish_(axes, "Score against cost", cost.words + (", bytes" if cost.form == "bytes" else ""), score.words,
                legend={"loc": "upper center", "ncols": 2})

    def _give_room_(self, axes, scores: list[float]) -> None:
        """Room for the legend above all points; a logarithmic scale where a few scores would squeeze the others."""
        if not scores:
            return
        low, high = min(scores), max(scores)
        if low > 0 and high > 10 * low:
            axes.set_yscale("log")
            axes.set_ylim(low / 1.3, high * (high / low) ** 0.4)
            _plain_ticks_(axes.yaxis)
        else:
            axes.set_ylim(low - 0.1 * (high - low or 1), high + 0.4 * (high - low or 1))


def told(view: View, cost: str, score: str) -> str:
    """What the picture shows, for those who do not see it."""
    parts = [view.text]
    for name, setting in (("shown", view.shown), ("default", view.default)):
        ends = [_curve(card)[1][-1] for card in setting.cards if _curve(card)[1]]
        if ends:
            parts.append(f"Last held-out losses of the {name}: {', '.join(f'{end:.4g}' for end in ends)}.")
        place = _place(setting, cost, score)
        if place:
            parts.append(f"{MEASURES[score].words} {MEASURES[score].written(place[1])} at {MEASURES[cost].words} "
                         f"{MEASURES[cost].written(place[0])}.")
    return " ".join(parts)


def caption(grid: Grid) -> str:
    """What to look at."""
    near = sum(apart(setting.knobs, grid.default.knobs) == 1 for setting in grid.settings)
    return ("Left, look at how far the solid curves part from the dashed ones: less than the seeds differ among "
            "themselves is no difference. Right, look for points lower or higher than the square at no more cost. "
            f"{len(grid.settings)} settings were measured, {near} of them one change away from the default.")


def _curve(card: Card | None) -> tuple[list, list]:
    return _columns(card.metrics.get("curve") or [] if card is not None else [])


def _place(setting: Setting, cost: str, score: str) -> tuple[float, float] | None:
    place = setting.mean(cost), setting.mean(score)
    return None if None in place else place


def _columns(pairs: Sequence) -> tuple[list, list]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _plain_ticks_(axis) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
