"""Which points of a sweep need not be run to their end, by optuna's pruners.

Knows nothing about how points are run or stopped: it is told what their traces say, and answers.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ftkit.errors import refusal, unknown
from ftkit.sweep import settings
from ftkit.sweep.quiet import quietly

KINDS = ("halving", "median")
HALF = 2  # of the settings that reach a rung, one in so many goes on


class Pruner:
    """Says which settings are hopeless while a sweep runs.

    Settings are judged, not points: the first point of a setting stands for it, and once that is hopeless the other
    seeds are, too. Judged seed by seed, a middling setting would keep its lucky seeds and lose the others, and its mean
    would be too good. So run the first seed of all settings first.

    "halving" keeps the better half at the end of the warm-up, and again each time the steps have doubled; a setting is
    compared with all that came as far before it. "median" stops what is worse than the median, at the same step, of
    the settings that are finished: more steps are run, and the best is lost less often. What they say follows from the
    order of the calls alone.

    Args:
        points: all points of the sweep: {id, parameters}.
        kind: "halving" or "median".
        lower: whether less of the reported value is better.
        warmup_steps: no setting is judged before this step; None judges from its second evaluation on.

    Raises:
        Refusal: an unknown kind, or a negative number of steps.

    Example:
        >>> points = [{"id": name, "parameters": {"rank": rank}} for name, rank in (("a", 1), ("b", 2))]
        >>> pruner = Pruner(points, warmup_steps=20)
        >>> pruner.report("a", step=20, value=0.5)
        >>> pruner.report("b", step=20, value=0.9)
        >>> pruner.hopeless("a"), pruner.hopeless("b")
        (False, True)

    Source: Li et al. 2020, A system for massively parallel hyperparameter tuning, for halving as the points come.

    Taught in: 05_rank_alpha_dropout
    """

    def __init__(self, points: Iterable[Mapping], kind: str = "halving", lower: bool = True,
                 warmup_steps: int | None = None):
        import optuna

        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
        is_whole = isinstance(warmup_steps, int) and not isinstance(warmup_steps, bool)
        if warmup_steps is not None and not (is_whole and warmup_steps >= 0):
            raise refusal("warmup_steps", "a whole number, 0 or more, or None", warmup_steps)
        self._kind, self._warmup_steps, self._pruner = kind, warmup_steps, None
        self._setting, self._judged = {}, {}
        for point in points:
            self.add(point)
        with quietly():
            self._study = optuna.create_study(direction="minimize" if lower else "maximize")
        self._trials: dict[str, optuna.Trial] = {}
        self._hopeless: set[str] = set()

    def add(self, point: Mapping) -> None:
        """Takes note of a point; one that it knows does no harm."""
        key = settings.key_of(point["parameters"])
        self._setting[point["id"]] = key
        self._judged.setdefault(key, point["id"])

    def report(self, point_id: str, step: int, value: float) -> None:
        """Takes note of a point's value after a step; one that it was told before does no harm.

        Raises:
            Refusal: no such point.
        """
        key = self._key(point_id)
        if not math.isfinite(value):
            self._hopeless.add(key)
        if key in self._hopeless or self._judged[key] != point_id:
            return
        if self._judge(key, step, value):
            self._prune(key)

    def recall(self, point_id: str, values: Iterable[tuple[int, float]], pruned: bool) -> None:
        """Takes note of a point of an earlier session; how it ended stands, in whatever order points are recalled.

        Args:
            values: all that it reported, by step.
            pruned: whether it was found hopeless; else it ran to its end.

        Raises:
            Refusal: no such point.
        """
        key = self._key(point_id)
        if self._judged[key] == point_id:
            for step, value in values:
                self._judge(key, step, value)
        self._prune(key) if pruned else self.finish(point_id)

    def finish(self, point_id: str) -> None:
        """Takes note that a point ran to its end: others may be compared with it.

        Raises:
            Refusal: no such point.
        """
        key = self._key(point_id)
        if self._judged[key] != point_id or key not in self._trials or key in self._hopeless:
            return
        seen = self._seen(self._trials[key])
        if not seen.state.is_finished():
            self._study.tell(self._trials[key], seen.intermediate_values[seen.last_step])

    def hopeless(self, point_id: str) -> bool:
        """Whether a point should be stopped, or not be started.

        Raises:
            Refusal: no such point.
        """
        return self._key(point_id) in self._hopeless

    def _judge(self, key: str, step: int, value: float) -> bool:
        """Whether a setting is hopeless by this value; others are compared with it from now on."""
        trial = self._trial(key)
        seen = self._seen(trial)
        if seen.state.is_finished() or step in seen.intermediate_values:
            return False
        trial.report(value, step)
        seen = self._seen(trial)
        is_warm = len(seen.intermediate_values) > 1 if self._warmup_steps is None else step >= self._warmup_steps
        return is_warm and self._pruner_from(step).prune(self._study, seen)

    def _prune(self, key: str) -> None:
        from optuna.trial import TrialState

        self._hopeless.add(key)
        trial = self._trial(key)
        if not self._seen(trial).state.is_finished():
            self._study.tell(trial, state=TrialState.PRUNED)

    def _key(self, point_id: str) -> str:
        if point_id not in self._setting:
            raise unknown("point", point_id, self._setting)
        return self._setting[point_id]

    def _trial(self, key: str):
        if key not in self._trials:
            with quietly():
                self._trials[key] = self._study.ask()
        return self._trials[key]

    def _seen(self, trial):
        return self._study.get_trials(deepcopy=False)[trial.number]

    def _pruner_from(self, step: int):
        """The pruner, which begins to judge at the first step that is past the warm-up."""
        from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

        if self._pruner is None:
            self._pruner = (SuccessiveHalvingPruner(min_resource=max(1, step), reduction_factor=HALF)
                            if self._kind == "halving" else
                            MedianPruner(n_startup_trials=3))
        return self._pruner


def spread(points: Sequence) -> list:
    """The points in a drawn order, the same one each time; the first seeds of all settings before the second ones.

    A grid lists its corners one after the other: settings that come early would be compared with their neighbours
    alone, and a grid that begins with its worst corner would prune nothing.

    Args:
        points: with `parameters`.
    """
    keys = [settings.key_of(point.parameters) for point in points]
    order = list(dict.fromkeys(keys))
    random.Random(0).shuffle(order)
    place, seen, ranked = {key: number for number, key in enumerate(order)}, Counter(), []
    for key, point in zip(keys, points, strict=True):
        ranked.append((seen[key], place[key], point))
        seen[key] += 1
    return [point for *_, point in sorted(ranked, key=lambda one: one[:2])]


def curve(folder: str | Path) -> list[tuple[int, float]]:
    """The held-out losses in the traces below a point's folder, by step; empty where there is none yet.

    Raises:
        Refusal: a line of a trace is damaged.
    """
    from ftkit.runs import TRACE, read_trace  # torch with it: not for a sweep without pruning

    records = [record for path in sorted(Path(folder).rglob(TRACE)) for record in read_trace(path.parent)]
    return [(record["step"], float(record["held_out_loss"])) for record in records
            if record.get("held_out_loss") is not None and "step" in record]
