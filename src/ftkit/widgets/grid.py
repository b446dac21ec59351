"""Measured trials as a grid: what was measured, and what stands nearest to what somebody chooses.

A shipped grid is a star: one change at a time around a default. So most combinations were never run, and nothing here
makes a number up for them: the nearest measured setting is shown, with a sentence that says so.
Knows nothing about pictures or widgets, or how a trial is run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ftkit.cards import Card
from ftkit.errors import refusal, unknown
from ftkit.methods import defaults
from ftkit.widgets.measures import MEASURES, metric

KNOBS = ("rank", "alpha", "dropout", "target_modules", "learning_rate")
"""Always there, in this order; any other parameter in which cards differ follows."""
SEED = "seed"
_NO_KNOBS = ("settings", "seed", "method", "score", "out_dir")


@dataclass(frozen=True)
class Setting:
    """What was measured with one choice of all knobs.

    Args:
        knobs: every knob's value.
        cards: a run for each seed.
    """

    knobs: Mapping
    cards: tuple[Card, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds it was run with."""
        return [card.seed for card in self.cards]

    def values(self, name: str) -> list[float]:
        """A metric of each run that has it."""
        return [value for card in self.cards if (value := metric(card, name)) is not None]

    def mean(self, name: str) -> float | None:
        """The mean of a metric over seeds; None where no run has it."""
        values = self.values(name)
        return fmean(values) if values else None


@dataclass(frozen=True)
class Grid:
    """All settings that were measured.

    Args:
        knobs: each knob's measured values, in order.
        settings: by measured choice; the default is one of them.
        default: the centre of the star.
    """

    knobs: Mapping[str, tuple]
    settings: tuple[Setting, ...]
    default: Setting

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that something was run with."""
        return tuple(sorted({seed for setting in self.settings for seed in setting.seeds}))


@dataclass(frozen=True)
class View:
    """What a choice shows.

    Args:
        chosen: every knob's value, and the seed.
        shown: the measured setting nearest to it.
        default: what it is compared with.
        measured: whether it is the chosen setting itself.
        text: says what is shown, and why where it is not what was chosen.
    """

    chosen: Mapping
    shown: Setting
    default: Setting
    measured: bool
    text: str

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headers and rows: each metric of the shown setting and of the default, the mean and the ends over seeds."""
        kept = [name for name in MEASURES if self.shown.values(name) or self.default.values(name)]
        headers = ["", f"shown ({_times(self.shown)})", f"default ({_times(self.default)})"]
        return headers, [[MEASURES[name].words, _spread(self.shown, name), _spread(self.default, name)]
                         for name in kept]


def grid_of(cards: Iterable[Card], default: Mapping | None = None) -> Grid:
    """The grid of LoRA cards; cards of other methods are left out, and a run that is there twice counts once.

    Args:
        cards: of trials, of one setting several seeds.
        default: values of some knobs that single the default out; None takes the setting that the others differ from
            in the fewest knobs.

    Raises:
        Refusal: no such card, a card of another kind, or a default that is not among them.
    """
    read = {}
    for place, card in enumerate(cards):
        if not isinstance(card, Card) or "settings" not in card.parameters:
            raise refusal(f"cards[{place}]", "the card of a trial, with its settings", card,
                          "Take those of recorded.shipped, or of runs of trials.run_trial.")
        if card.parameters.get("method") == "lora" and card.status == "done":
            knobs = knobs_of(card)
            read[tuple(sorted(knobs.items(), key=lambda one: one[0])), card.seed] = knobs, card
    if not read:
        raise refusal("cards", "at least one finished run of LoRA", "none")
    differing = _differing([knobs for knobs, _ in read.values()])
    grouped: dict[tuple, list[Card]] = {}
    for knobs, card in read.values():
        grouped.setdefault(tuple(knobs.get(name) for name in differing), []).append(card)
    settings = tuple(Setting(dict(zip(differing, values, strict=True)), tuple(sorted(own, key=lambda one: one.seed)))
                     for values, own in grouped.items())
    values = {name: tuple(sorted({one.knobs[name] for one in settings}, key=_order)) for name in differing}
    return Grid(values, settings, _default(settings, default or {}))


def asked_for(grid: Grid, chosen: Mapping) -> dict:
    """What has to be said to run a choice: the usual knobs, the seed, and of the others those that are not default."""
    return {name: value for name, value in chosen.items()
            if name in (*KNOBS, SEED) or value != grid.default.knobs[name]}


def with_card(grid: Grid, card: Card) -> Grid:
    """The grid with one more run; the default stays."""
    cards = [one for setting in grid.settings for one in setting.cards]
    return grid_of([*cards, card], grid.default.knobs)


def compute(grid: Grid, chosen: Mapping, moved: str = "") -> View:
    """What a choice shows: the setting itself if it was measured, else the nearest one that was.

    Near is what differs in few knobs, then what differs by a small factor. What was moved last is kept if it can be.

    Args:
        grid: what was measured.
        chosen: values of knobs, and a seed; what is left out is the default's.
        moved: the knob that was changed last.

    Raises:
        Refusal: an unknown knob.
    """
    for name in chosen:
        if name not in (*grid.knobs, SEED):
            raise unknown("knob", name, (*grid.knobs, SEED))
    chosen = {**grid.default.knobs, SEED: grid.default.seeds[0],
              **{name: _fixed(value) for name, value in chosen.items()}}
    shown = min(grid.settings, key=lambda setting: _distance(grid, setting, chosen, moved))
    measured = all(shown.knobs[name] == chosen[name] for name in grid.knobs)
    return View(chosen, shown, grid.default, measured, _said(grid, chosen, shown, measured))


def words(value: object) -> str:
    """A knob's value as somebody would type it.

    Example:
        >>> words(("q_proj", "v_proj")), words(0.0005), words(True)
        ('q_proj,v_proj', '0.0005', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(words, value))
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def knobs_of(card: Card) -> dict:
    """All that a trial was asked for but its seed, so that it can be compared."""
    given = {**card.parameters, **defaults("lora"), **card.parameters["settings"]}  # a setting may be newer than a card
    return {name: _fixed(value) for name, value in given.items() if name not in _NO_KNOBS}


def _fixed(value: object) -> object:
    """The value so that it can be compared and looked up: 16 and 16.0 are one value, lists are tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(_fixed, value))
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


def _differing(all_knobs: Sequence[Mapping]) -> list[str]:
    names = dict.fromkeys(name for knobs in all_knobs for name in knobs)
    others = [name for name in names if name not in KNOBS and len({knobs.get(name) for knobs in all_knobs}) > 1]
    return [*(name for name in KNOBS if name in names), *others]


def _default(settings: Sequence[Setting], given: Mapping) -> Setting:
    for name in given:
        if name not in settings[0].knobs:
            raise unknown("a knob of default", name, settings[0].knobs)
    fit = [one for one in settings if all(one.knobs[name] == _fixed(value) for name, value in given.items())]
    if not fit:
        raise refusal("default", "among the cards", dict(given), "Leave it out, or give values that were run.")
    return min(fit, key=lambda one: sum(apart(one.knobs, other.knobs) for other in settings))


def apart(one: Mapping, other: Mapping) -> int:
    """In how many knobs two choices differ."""
    return sum(one[name] != other[name] for name in one)


def _distance(grid: Grid, setting: Setting, chosen: Mapping, moved: str) -> tuple:
    far = sum(_far(setting.knobs[name], chosen[name]) for name in grid.knobs)
    return (apart(setting.knobs, {name: chosen[name] for name in grid.knobs}),
            moved in grid.knobs and setting.knobs[moved] != chosen[moved], far,
            apart(setting.knobs, grid.default.knobs))


def _far(one: object, other: object) -> float:
    """How far two values of a knob are apart: numbers by their ratio, as knobs are turned."""
    if one == other:
        return 0.0
    if not (_is_number(one) and _is_number(other)) or min(one, other) <= 0:
        return 1.0
    return abs(math.log(one / other))


def _said(grid: Grid, chosen: Mapping, shown: Setting, measured: bool) -> str:
    if measured:
        lacking = "" if chosen[SEED] in shown.seeds else f" Seed {chosen[SEED]} was not run."
        return f"Measured: {_named(shown.knobs, grid.default.knobs)}, {_times(shown)}.{lacking}"
    changed = {name: chosen[name] for name in grid.knobs if chosen[name] != grid.default.knobs[name]}
    new = [f"{name} {words(value)}" for name, value in changed.items() if value not in grid.knobs[name]]
    why = (f"No run has {' or '.join(new)}." if new else "Each of these values was measured, never all together."
           if len(changed) > 1 else "It was measured only together with other changes.")
    other = ", ".join(f"{name} {words(shown.knobs[name])} in place of {words(chosen[name])}"
                      for name in grid.knobs if shown.knobs[name] != chosen[name])
    return (f"Not measured: {_named(chosen, grid.default.knobs)}. {why} Shown is the nearest measured setting, with "
            f"{other}. Train this point to measure it.")


def _named(knobs: Mapping, default: Mapping) -> str:
    changed = [f"{name} {words(knobs[name])}" for name in default if knobs[name] != default[name]]
    return " with ".join([", ".join(changed), "all else as in the default"]) if changed else "the default"


def _times(setting: Setting) -> str:
    return f"{len(setting.cards)} seed{'s' if len(setting.cards) > 1 else ''}"


def _spread(setting: Setting, name: str) -> str:
    values, measure = setting.values(name), MEASURES[name]
    if not values:
        return "not measured"
    ends = [measure.written(end) for end in (min(values), max(values))]
    return measure.written(fmean(values)) + (f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else "")


def _order(value: object) -> tuple:
    return (0, value, "") if _is_number(value) else (1, 0, words(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
