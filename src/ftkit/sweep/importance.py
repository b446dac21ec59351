"""Which parameters moved the score: each one's share of the variance over a sweep's settings, by optuna's fANOVA.

Knows nothing about how points are run.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from ftkit.errors import refusal
from ftkit.sweep import settings
from ftkit.sweep.quiet import quietly

ABSENT = "not given"


@dataclass(frozen=True)
class Importance:
    """One parameter's share of the variance.

    Args:
        parameter: its name.
        share: from 0 to 1, of the settings' means over seeds; the shares of all parameters add up to 1.
        by_seed: the same, of the points of one seed alone.
    """

    parameter: str
    share: float
    by_seed: dict[int, float]

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None with one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


def importance(points: Iterable[Mapping], metric: str | None = None, defaults: Mapping | None = None,
               seed: int = 0) -> list[Importance]:
    """Each parameter that differs and its share of the variance of a metric, largest first.

    A forest of regression trees is fitted to the settings, and its variance over the whole box of parameters is taken
    apart by parameter; parameters above 0 count by their logarithms. So a share says how much a parameter moved the
    score over the values that were tried: a wider range makes it larger. Where one parameter was changed at a time,
    the forest has seen no two together, and what it says about their mixture is its own guess.

    Args:
        points: of a sweep, or of run cards.
        metric: of the held-out split; None takes the held-out loss, or the only number there is.
        defaults: the values of parameters that a point does not name.
        seed: of the forest.

    Raises:
        Refusal: no parameter differs, the score never differs, there are too few settings, or the metric is unknown.

    Source: Hutter et al. 2014, An efficient approach for assessing hyperparameter importance.

    Taught in: 05_rank_alpha_dropout
    """
    points = list(points)
    metric = settings.check_metric(points, metric or settings.default_metric(points))
    found = settings.ranked(points, metric)
    filled = [{**(defaults or {}), **one.parameters} for one in found]
    names = _differing(filled)
    _refuse_too_few(found, names, metric)
    columns = {name: _column([one.get(name, ABSENT) for one in filled]) for name in names}
    of_all = _shares(columns, [one.mean for one in found], seed)
    by_seed = {}
    for one_seed in sorted({number for one in found for number in one.scores}):
        rows = [place for place, one in enumerate(found) if one_seed in one.scores]
        scores = [found[place].scores[one_seed] for place in rows]
        if len(rows) >= _fewest(names) and len(set(scores)) > 1:
            own = {name: (kind, [values[place] for place in rows]) for name, (kind, values) in columns.items()}
            by_seed[one_seed] = _shares(own, scores, seed)
    return sorted((Importance(name, of_all[name], {one: shares[name] for one, shares in by_seed.items()})
                   for name in names), key=lambda one: -one.share)


def _differing(filled: Sequence[Mapping]) -> list[str]:
    names = dict.fromkeys(name for one in filled for name in one if name not in settings.NOT_THE_SETTING)
    return [name for name in names if len({_text(one.get(name, ABSENT)) for one in filled}) > 1]


def _fewest(names: Sequence[str]) -> int:
    return len(names) + 2  # a mean and one effect each are as many unknowns; one more setting to see the noise


def _refuse_too_few(found: Sequence, names: Sequence[str], metric: str) -> None:
    if not names:
        raise refusal("points", "of settings that differ in a parameter", "one setting", "Sweep a parameter first.")
    if len(found) < _fewest(names):
        raise refusal("points", f"of {_fewest(names)} settings or more, two more than differing parameters",
                      len(found), "Sweep more settings, or fewer parameters.")
    if len({one.mean for one in found}) == 1:
        raise refusal(metric, "different between settings", "one value only", "There is no variance to share out.")


def _column(values: Sequence[object]) -> tuple[object, list]:
    """A distribution of optuna that holds the values, and the values as it wants them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in values):
        scaled = [math.log(one) for one in values] if min(values) > 0 else [float(one) for one in values]
        return FloatDistribution(min(scaled), max(scaled)), scaled  # fANOVA itself takes no notice of a log scale
    texts = [_text(one) for one in values]
    return CategoricalDistribution(list(dict.fromkeys(texts))), texts


def _shares(columns: Mapping[str, tuple], scores: Sequence[float], seed: int) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with quietly():
        study = optuna.create_study()
    kinds = {name: kind for name, (kind, _) in columns.items()}
    for place, score in enumerate(scores):
        parameters = {name: values[place] for name, (_, values) in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=kinds, value=score))
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), params=list(kinds))
    return {name: float(share) for name, share in shares.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
