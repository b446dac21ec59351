"""Two sets of runs side by side: the best setting of each, paired by seed, and how far the difference can be believed.

Knows nothing about how runs are made.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

from ftkit.errors import refusal
from ftkit.evaluate.intervals import Estimate, student_mean
from ftkit.sweep import settings
from ftkit.sweep.chance import MOST_SEEDS, POWER, best_of_chance, seeds_needed, seeds_to_leave_zero
from ftkit.sweep.settings import Setting
from ftkit.sweep.summary import label_of, lost_words
from ftkit.units import counted


@dataclass(frozen=True)
class Side:
    """One of the two sets of runs, and the setting that stands for it.

    Args:
        name: what it is called in the text.
        chosen: its best setting by the metric.
        settings: how many there were to choose from.
        by_chance: by how much the best of so many equal settings beats their mean, by luck alone: what a seed does to
            all settings alike is no part of it; None where no setting has two seeds.
        label: the chosen parameters, as far as they differ between all settings of both sides.
    """

    name: str
    chosen: Setting
    settings: int
    by_chance: float | None
    label: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; its text is the sentence a person reads, `record` the numbers.

    Args:
        metric: what was compared.
        lower: whether less of it is better.
        sides: the two.
        difference: the mean over common seeds of the second side minus the first, and its interval.
        seeds: those on both sides.
        unpaired: seeds on one side alone, by its name.
        seeds_needed: for the seen difference and spread: with a chance of 0.8 to see it ("power"), and for an interval
            that would leave 0 out with the means as they are ("interval"); None where there is no telling.
        test: the metrics of the test split, for the two chosen settings: means and the paired difference.
    """

    metric: str
    lower: bool
    sides: tuple[Side, Side]
    difference: Estimate
    seeds: tuple[int, ...]
    unpaired: dict[str, list[int]]
    seeds_needed: dict[str, int | None]
    test: dict[str, dict]

    @property
    def settled(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.difference.low > 0 or self.difference.high < 0

    def record(self) -> dict:
        """All numbers, as JSON can hold them."""
        return {"metric": self.metric, "lower_is_better": self.lower,
                "sides": [{"name": one.name, "setting": one.chosen.parameters, "scores": one.chosen.scores,
                           "lost": list(one.chosen.lost), "mean": one.chosen.mean, "spread": one.chosen.spread,
                           "settings": one.settings, "by_chance": one.by_chance} for one in self.sides],
                "difference": _numbers(self.difference), "settled": self.settled, "seeds": list(self.seeds),
                "unpaired": self.unpaired, "seeds_needed": self.seeds_needed,
                "test": {name: {**one, "difference": _numbers(one["difference"])} for name, one in self.test.items()}}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(points_a: Iterable[Mapping], points_b: Iterable[Mapping], metric: str | None = None,
            lower: bool | None = None, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """The best setting of each side, and their difference over the seeds that both have.

    Settings are chosen by the metric alone, which must be of the held-out split. What the runs say about the test split
    is told for the two chosen settings and for no other, and has no part in the choice.

    Args:
        points_a: of a sweep, or of run cards; the side that the other is compared with.
        points_b: likewise.
        metric: None takes the held-out loss, or the only number there is.
        lower: whether less of it is better; None goes by its name.
        names: of the two sides.

    Raises:
        Refusal: no such metric, a metric of the test split, a side without a finished point, or no common seed.

    Example:
        >>> runs = [[{"id": "", "parameters": {"rank": rank, "seed": seed}, "status": "done",
        ...           "metrics": {"held_out_loss": 1 / rank + seed / 100}} for seed in (0, 1, 2)] for rank in (2, 4)]
        >>> compare(*runs).difference.value
        -0.25

    Source: Student 1908 for the interval; Bouthillier et al. 2021 for pairing by seed.

    Taught in: 05_rank_alpha_dropout
    """
    both = [list(points_a), list(points_b)]
    metric = metric or settings.default_metric(both[0])
    less = settings.lower_is_better(metric) if lower is None else lower
    differing = settings.differing([point for points in both for point in points])
    side_a, side_b = (_side(points, metric, less, name, differing)
                      for points, name in zip(both, names, strict=True))
    scores_a, scores_b = side_a.chosen.scores, side_b.chosen.scores
    seeds = sorted(scores_a.keys() & scores_b.keys())
    if not seeds:
        raise refusal("runs", "with at least one seed that both sides have",
                      f"seeds {_listed(scores_a)} and {_listed(scores_b)}", "Run both with the same seeds.")
    differences = [scores_b[seed] - scores_a[seed] for seed in seeds]
    unpaired = {side.name: sorted(side.chosen.scores.keys() - set(seeds)) for side in (side_a, side_b)}
    found = student_mean(differences)
    return Comparison(metric, less, (side_a, side_b), found, tuple(seeds),
                      {name: left for name, left in unpaired.items() if left}, _needed(differences),
                      _test(side_a.chosen, side_b.chosen))


def folders(folder_a: str | Path, folder_b: str | Path, metric: str | None = None,
            lower: bool | None = None) -> Comparison:
    """The comparison of two folders, each of a sweep or with runs in it.

    Raises:
        Refusal: as `compare` does; or a folder holds neither a sweep nor runs.
    """
    return compare(settings.read_points(folder_a), settings.read_points(folder_b), metric, lower,
                   names=_names(Path(folder_a), Path(folder_b)))


def _needed(differences: Sequence[float]) -> dict[str, int | None]:
    if len(differences) < 2:
        return {"power": None, "interval": None}
    middle, spread = fmean(differences), stdev(differences)
    return {"power": seeds_needed(middle, spread), "interval": seeds_to_leave_zero(middle, spread)}


def _side(points: Sequence[Mapping], metric: str, lower: bool, name: str, differing: Sequence[str]) -> Side:
    found = settings.ranked(points, metric, lower)
    if not found:
        raise refusal(f"runs of {name}", f"finished, one at least with {metric}", "none",
                      "Run them to their end first.")
    variance, by_chance = _own_variance(found), None
    if variance is not None:
        by_chance = best_of_chance(len(found)) * math.sqrt(variance * fmean(1 / len(one.scores) for one in found))
    return Side(name, found[0], len(found), by_chance, label_of(found[0].parameters, differing))


def _own_variance(found: Sequence[Setting]) -> float | None:
    """How far a score scatters that is its setting's own; None where no setting has two seeds.

    Where all settings have two seeds in common, what a seed does to all of them is taken out: it moves none ahead.
    """
    common = set.intersection(*(set(one.scores) for one in found))
    if len(common) > 1 and len(found) > 1:
        rows = [[one.scores[seed] for seed in sorted(common)] for one in found]
        of_seed, of_all = [fmean(column) for column in zip(*rows, strict=True)], fmean(map(fmean, rows))
        own = sum((score - fmean(row) - seed + of_all) ** 2 for row in rows
                  for score, seed in zip(row, of_seed, strict=True))
        return own / ((len(rows) - 1) * (len(of_seed) - 1))
    spreads = [(len(one.scores), one.spread ** 2) for one in found if one.spread is not None]
    return sum((n - 1) * square for n, square in spreads) / sum(n - 1 for n, _ in spreads) if spreads else None


def _test(chosen_a: Setting, chosen_b: Setting) -> dict[str, dict]:
    found = {}
    for metric in settings.numbers_in(chosen_a.points):
        if not settings.is_test(metric):
            continue
        a, b = ({point["parameters"].get("seed", 0): settings.number_of(point, metric) for point in one.points}
                for one in (chosen_a, chosen_b))
        seeds = sorted(seed for seed in a.keys() & b.keys() if None not in (a[seed], b[seed]))
        if seeds:
            found[metric] = {"means": [fmean(side[seed] for seed in seeds) for side in (a, b)], "seeds": seeds,
                             "difference": student_mean([b[seed] - a[seed] for seed in seeds])}
    return found


def _lines(found: Comparison) -> list[str]:
    a, b = found.sides
    lines = [f"{found.metric}, {'lower' if found.lower else 'higher'} is better"]
    for side in found.sides:
        spread = "" if side.chosen.spread is None else f" ± {side.chosen.spread:.2g}"
        lines.append(f"  {side.name}: {side.chosen.mean:.4g}{spread} over {counted(len(side.chosen.scores), 'seed')}"
                     f"  ({side.label}{f'; the best of {side.settings} settings' if side.settings > 1 else ''})")
    lines += [f"  {side.name} is {lost}" for side in found.sides if (lost := lost_words(side.chosen, found.metric))]
    lines += [f"  seed {_listed(left)} of {name} has no partner and is left out of the difference"
              for name, left in found.unpaired.items()]
    lines.append(f"{b.name} − {a.name} over {counted(len(found.seeds), 'common seed')}: {_interval(found.difference)}")
    lines += [_verdict(found), *_chance_lines(found)]
    for metric, one in found.test.items():
        (mean_a, mean_b), difference = one["means"], one["difference"]
        lines.append(f"{metric}, reported once, for the chosen settings: {a.name} {mean_a:.4g}, {b.name} {mean_b:.4g}, "
                     f"difference {_interval(difference)}")
    return lines


def _verdict(found: Comparison) -> str:
    n, needed = len(found.seeds), found.seeds_needed
    if n < 2:
        return "One common seed says nothing about the spread: run both with three seeds or more."
    if found.settled:
        better = found.sides[(found.difference.value < 0) == found.lower]
        if better.settings > 1:
            return (f"{better.name} is better on these seeds: the interval leaves 0 out. It does not know that they "
                    "chose the setting.")
        return f"{better.name} is better: the interval leaves 0 out."
    if needed["power"] is None:
        return f"Not settled: the interval holds 0, and {MOST_SEEDS:,} seeds would not settle a difference this small."
    return (f"Not settled: the interval holds 0. If difference and spread are as seen here, it would leave 0 out from "
            f"{needed['interval']} seeds on, and with a chance of {POWER:.0%} at {needed['power']} seeds.")


def _chance_lines(found: Comparison) -> list[str]:
    lines = []
    for side in found.sides:
        if side.settings > 1 and side.by_chance is None:
            lines.append(f"{side.name} is the winner of {side.settings} with one seed each: how much of its lead is "
                         "luck cannot be said. Repeat it with other seeds.")
        elif side.settings > 1:
            lines.append(f"{side.name} is the winner of {side.settings}: the best of so many equal settings beats "
                         f"their mean by {side.by_chance:.2g} by luck alone, on average. Repeat the winner with new "
                         "seeds before believing its lead.")
    return lines


def _names(a: Path, b: Path) -> tuple[str, str]:
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")


def _numbers(estimate: Estimate) -> dict:
    """As JSON can hold them: None where there is no interval."""
    return {name: None if math.isnan(value) else value for name, value in asdict(estimate).items()}


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:+.4g}"
    return f"{estimate.value:+.4g}, 95 % interval {estimate.low:+.4g} to {estimate.high:+.4g}"


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
