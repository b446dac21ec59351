"""Points proposed by optuna from what is done so far, instead of a grid.

The sweep's folder is the memory: a study that goes on reads its finished points again, and nothing else is kept. Knows
nothing about running points.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ftkit.errors import refusal
from ftkit.sweep import points as folders
from ftkit.sweep import settings
from ftkit.sweep.grid import Grid, Seeds, points_of, seed_list
from ftkit.sweep.points import Point
from ftkit.sweep.quiet import quietly
from ftkit.sweep.targets import SEED, Target

_SAME_AGAIN = 50  # so many proposals in a row that are there already end a study


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones where both ends are.

    Args:
        log: whether they are drawn evenly over their logarithm.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self):
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int | float):
                raise refusal("end of a range", "a number", end)
        if not self.low < self.high or self.log and not self.low > 0:
            raise refusal("range", "from a smaller to a larger number" + (", both above 0" if self.log else ""),
                          f"{self.low:g}..{self.high:g}")

    def distribution(self) -> object:
        """The same, as optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return (IntDistribution if whole else FloatDistribution)(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Study:
    """What optuna may choose from, and how often.

    Args:
        trials: settings in all, those of earlier sittings counted.
        ranges: by parameter.
        choices: values by parameter.
        fixed: the same for all.
        constraints: that set or check parameters, see `expressions`; a setting that is dropped is proposed anew.
        seeds: each setting runs with all of them, and counts by its mean.
        metric: what is judged; None takes the held-out loss, or the only number there is.
        lower: whether less of it is better; None goes by its name.
        seed: of the proposals.
    """

    trials: int
    ranges: Mapping[str, Range] = field(default_factory=dict)
    choices: Mapping[str, Sequence] = field(default_factory=dict)
    fixed: Mapping = field(default_factory=dict)
    constraints: Sequence[str] = ()
    seeds: Seeds = None
    metric: str | None = None
    lower: bool | None = None
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.trials, bool) or not isinstance(self.trials, int) or self.trials < 1:
            raise refusal("trials of a study", "1 or more", self.trials)
        if not self.ranges and not self.choices:
            raise refusal("study", "one with a range or choices", "neither", "Add --range NAME=LOW..HIGH.")

    @property
    def total(self) -> int:
        """How many points all trials make."""
        return self.trials * (self.seeds if isinstance(self.seeds, int) else len(self.seeds or [0]))

    def checked(self, target: Target) -> "Study":
        """The study with ends of ranges as the target declares them.

        Raises:
            Refusal: an unknown parameter, or a value or an end of another type.
        """
        seed_list(self.seeds, target, self.fixed)
        ranges = {}
        for name, one in self.ranges.items():
            ends = [target.check({**self._any(), name: end})[name] for end in (one.low, one.high)]
            ranges[name] = Range(*ends, one.log)
        for name, values in self.choices.items():
            for value in values:
                target.check({**self._any(), name: value})
        return replace(self, ranges=ranges)

    def _any(self) -> dict:
        """Some value for every parameter that is set."""
        return {**self.fixed, **{name: one.low for name, one in self.ranges.items()},
                **{name: values[0] for name, values in self.choices.items()}}


def proposed(study: Study, target: Target, out: Path, is_todo: Callable[[Point], bool]) -> Iterator[Point]:
    """The points to run, one after the other: those that were interrupted, then what optuna proposes.

    Each is proposed when it is asked for, so that what is done by then counts.

    Args:
        out: the sweep's folder, begun.
        is_todo: whether a point of the folder is to run.

    Raises:
        Refusal: no finished point has the metric.
    """
    given, same = set(), 0
    while same < _SAME_AGAIN:
        known = list(folders.stored_points(out))
        todo = [one for one in known if one.id not in given and is_todo(one)]
        if todo:
            given.add(todo[0].id)
            yield todo[0]
            continue
        keys = {settings.key_of(one.parameters) for one in known}
        if len(keys) >= study.trials:
            return
        chosen = _proposal(study, known, len(keys) + 1000 * same)
        grid = Grid(points=[chosen], fixed=study.fixed, constraints=study.constraints, seeds=study.seeds)
        points = folders.named(points_of(grid, target, may_be_empty=True), out, [*study.ranges, *study.choices, SEED])
        if not points or settings.key_of(points[0].parameters) in keys:
            same += 1
            continue
        same = 0
        folders.begin(out, target.name, points)


def _proposal(study: Study, known: Sequence[Point], seed: int) -> dict:
    """What optuna would try next."""
    import optuna

    distributions = {name: one.distribution() for name, one in study.ranges.items()}
    distributions |= {name: optuna.distributions.CategoricalDistribution(list(values))
                      for name, values in study.choices.items()}
    points = [vars(one) for one in known]
    metric = study.metric or (settings.default_metric(points) if settings.numbers_in(points) else settings.HELD_OUT)
    lower = settings.lower_is_better(metric) if study.lower is None else study.lower
    if settings.is_test(metric) or settings.numbers_in(points) and not settings.is_metric(points, metric):
        settings.check_metric(points, metric)  # refuses; a run that diverged has the metric, though no number
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about constant_liar
        sampler = optuna.samplers.TPESampler(seed=study.seed + seed, constant_liar=True)
        memory = optuna.create_study(direction="minimize" if lower else "maximize", sampler=sampler)
        for trial in _trials(points, metric, distributions):
            memory.add_trial(trial)
        return memory.ask(distributions).params


def _trials(points: Sequence[Mapping], metric: str, distributions: Mapping) -> Iterator[object]:
    """The settings so far, as optuna has them; one that is out of the ranges of today is left out."""
    from optuna.trial import TrialState, create_trial

    groups: dict[str, list] = {}
    for point in points:
        groups.setdefault(settings.key_of(point["parameters"]), []).append(point)
    for group in groups.values():
        params = {name: group[0]["parameters"].get(name) for name in distributions}
        scores = [settings.number_of(one, metric) for one in group if one["status"] == "done"]
        if None in scores or any(one["status"] in ("failed", "pruned") for one in group):
            state, value = TrialState.FAIL, None
        elif len(scores) == len(group):
            state, value = TrialState.COMPLETE, sum(scores) / len(scores)
        else:
            state, value = TrialState.RUNNING, None
        try:
            yield create_trial(state=state, params=params, distributions=dict(distributions), value=value)
        except (ValueError, TypeError):
            continue


def range_of(name: str, text: str, target: Target) -> Range:
    """A range from a text such as `1e-4..1e-1:log`, its ends read as the target's declared type.

    Raises:
        Refusal: it is not of that form, or an end is no number.
    """
    ends, _, word = text.partition(":")
    low, dots, high = ends.partition("..")
    if not dots or word not in ("", "log"):
        raise refusal(f"--range {name}", "LOW..HIGH or LOW..HIGH:log", text, "Write for example 1e-4..1e-1:log.")
    return Range(target.parse(name, low), target.parse(name, high), word == "log")
