"""Run cards that ship with a lesson: the same training with several seeds, so that one live run can be judged.

    course/assets/cards/<stem>/<experiment>.json    a list of run cards, one a seed

They are made by `python benchmarks/lesson_cards.py <stem>`. Knows nothing about how they were measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from ftkit.cards import Card
from ftkit.course.exercise import CheckFailed
from ftkit.course.table import Table
from ftkit.errors import refusal, unknown
from ftkit.evaluate.intervals import Estimate, student
from ftkit.files import read_json, write_json

CARDS = Path(__file__).parent / "assets" / "cards"
FEWEST_SEEDS = 3
LEVEL = 0.99  # a new seed leaves the interval once in a hundred runs by chance alone
SHARE = (0.0, 1.0)


def experiments(stem: str, folder: str | Path = CARDS) -> list[str]:
    """The names of a lesson's shipped experiments.

    Args:
        stem: the lesson, as in "00_start_here".
        folder: where the cards of all lessons stand.

    Raises:
        Refusal: the lesson has no shipped cards.
    """
    folder = Path(folder)
    known = sorted({path.parent.name for path in folder.glob("*/*.json")})
    if stem not in known:
        raise unknown("lesson with shipped cards", stem, known, _remake(stem))
    return sorted(path.stem for path in (folder / stem).glob("*.json"))


def shipped(stem: str, experiment: str, folder: str | Path = CARDS, fewest_seeds: int = FEWEST_SEEDS) -> list[Card]:
    """The cards of one experiment, in the order of parameters and seeds in which they were measured.

    Args:
        stem: the lesson, as in "00_start_here".
        experiment: its name, as in `experiments`.
        folder: where the cards of all lessons stand.
        fewest_seeds: of each setting; fewer than three only where the runs chose something and are not reported.

    Raises:
        Refusal: no such lesson or experiment, a damaged file, a run that was not finished, or one setting with fewer
            seeds.
    """
    if experiment not in experiments(stem, folder):
        raise unknown("experiment", experiment, experiments(stem, folder))
    path = Path(folder) / stem / f"{experiment}.json"
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise refusal(path.name, "a list of run cards", content, _remake(stem))
    return _checked([_card(entry, place, path) for place, entry in enumerate(content)], path, fewest_seeds)


def ship(stem: str, experiment: str, cards: Sequence[Card], folder: str | Path = CARDS,
         fewest_seeds: int = FEWEST_SEEDS) -> Path:
    """The file that now holds the cards of one experiment, for `shipped`.

    Raises:
        Refusal: a run that was not finished, or one setting with fewer seeds than `fewest_seeds`.
    """
    path = Path(folder) / stem / f"{experiment}.json"
    return write_json(path, [asdict(card) for card in _checked(list(cards), path, fewest_seeds)])


def values(cards: Sequence[Card], metric: str) -> list[float]:
    """One metric of each card.

    Raises:
        Refusal: a card has no such metric, or one that is no finite number.
    """
    for card in cards:
        if metric not in card.metrics:
            raise unknown(f"metric of {card.name}", metric, card.metrics)
        value = card.metrics[metric]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise refusal(f"{metric} of {card.name}, seed {card.seed}", "a finite number", value)
    return [float(card.metrics[metric]) for card in cards]


def interval(cards: Sequence[Card], metric: str, level: float = LEVEL,
             bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean of a metric over seeds, and between what one more run with a new seed is expected to lie.

    This is a prediction interval. A confidence interval would say where the mean of very many seeds lies; it shrinks
    with every seed measured, and a single new run falls outside it more often than not. Student's t stands in for the
    normal distribution because the spread itself is estimated from few seeds.

    Equation: mean ± t(n − 1, level) · s · √(1 + 1/n), s the standard deviation over n seeds.

    Args:
        cards: of one setting, each with another seed.
        metric: its name.
        level: share of new runs that the interval holds, between 0 and 1.
        bounds: what the metric cannot leave, such as `SHARE`; the interval is cut there.

    Raises:
        Refusal: fewer than three cards, or cards of different parameters.

    Example:
        >>> cards = [Card("try", {}, seed, "2026-01-01", metrics={"loss": 1 + seed / 10}) for seed in range(3)]
        >>> print(interval(cards, "loss", level=0.95))
        1.1 [0.6032, 1.597] (n=3)

    Source: any textbook of statistics, under prediction interval; Hahn and Meeker 1991, section 4.
    """
    measured = values(cards, metric)
    n = len(measured)
    if n < FEWEST_SEEDS:
        raise refusal("cards", f"of {FEWEST_SEEDS} seeds or more", n, "One or two runs say nothing about the spread.")
    if any(_setting(card) != _setting(cards[0]) for card in cards):
        raise refusal("cards", "of runs that differ in the seed alone", "several settings", "Choose one setting first.")
    middle, half = fmean(measured), student(n - 1, level) * stdev(measured) * math.sqrt(1 + 1 / n)
    return Estimate(middle, max(bounds[0], middle - half), min(bounds[1], middle + half), n, level)


def stays_within(measured: float, cards: Sequence[Card], metric: str, parameters: Mapping | None = None,
                 bounds: tuple[float, float] = (-math.inf, math.inf)) -> str:
    """A sentence that says where a live run lies among the shipped ones.

    Args:
        measured: the metric of the live run.
        cards: the shipped ones, of one setting.
        metric: its name.
        parameters: those of the live run; where they differ from the cards', nothing is compared.
        bounds: what the metric cannot leave, such as `SHARE`.

    Raises:
        CheckFailed: the live run has the cards' parameters and lies outside the interval.
    """
    expected = interval(cards, metric, bounds=bounds)
    theirs = _setting(cards[0])
    differ = [name for name, value in theirs.items() if parameters is not None and parameters.get(name) != value]
    if differ:
        pairs = ", ".join(f"{name} is {parameters.get(name)!r} here and {theirs[name]!r} there" for name in differ)
        return f"{metric}: {measured:.4g}, not compared with the shipped runs: {pairs}"
    between = f"{expected.low:.4g} to {expected.high:.4g}"
    if not expected.low <= measured <= expected.high:
        raise CheckFailed(f"{metric} is {measured:.4g} here, outside {between}, where {expected.level:.0%} of new "
                          f"seeds would lie by the {expected.n} shipped runs. Something is different on this machine: "
                          "compare versions and hardware with the shipped cards.")
    return f"{metric}: {measured:.4g} lies within {between}, where {expected.level:.0%} of new seeds are expected"


def seeds_table(cards: Sequence[Card], metrics: Mapping[str, str], live: Mapping[str, float] | None = None) -> Table:
    """A row a seed, then the mean, then the run that was made just now.

    Args:
        cards: of one setting.
        metrics: metric name to the words above its column.
        live: the metrics of the run just now; None leaves that row out.

    Raises:
        Refusal: a card without one of the metrics.
    """
    columns = {metric: values(cards, metric) for metric in metrics}
    rows = [[f"seed {card.seed}", *(f"{columns[metric][place]:.3g}" for metric in metrics)]
            for place, card in enumerate(cards)]
    rows.append(["mean", *(f"{fmean(column):.3g}" for column in columns.values())])
    if live is not None:
        rows.append(["this run", *(f"{live[metric]:.3g}" for metric in metrics)])
    return Table(["", *metrics.values()], rows)


def _card(entry: object, place: int, path: Path) -> Card:
    try:
        return Card(**entry)
    except TypeError as error:
        raise refusal(f"{path.name}[{place}]", "a run card", str(error), _remake(path.parent.name)) from error


def _checked(cards: list[Card], path: Path, fewest_seeds: int) -> list[Card]:
    seeds: dict[str, set[int]] = {}
    for card in cards:
        if card.status != "done":
            raise refusal(f"{path.name}: {card.name}, seed {card.seed}", "a finished run", card.status,
                          _remake(path.parent.name))
        seeds.setdefault(repr(sorted(_setting(card).items())), set()).add(card.seed)
    fewest = min(map(len, seeds.values()), default=0)
    if fewest < fewest_seeds:
        raise refusal(path.name, f"runs with {fewest_seeds} seeds or more of each setting", fewest,
                      _remake(path.parent.name))
    return cards


def _setting(card: Card) -> dict:
    """All parameters but the seed."""
    return {name: value for name, value in card.parameters.items() if name != "seed"}


def _remake(stem: str) -> str:
    return f"Make them again with: python benchmarks/lesson_cards.py {stem}"
