"""The points of a sweep by setting: one row a set of parameters, its seeds beside each other, the best first.

A point is what `points/<id>/point.json` holds: {id, parameters, status, metrics, error, elapsed_s, attempts}. Knows
nothing about how points are run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from ftkit.cards import CARD, read_card
from ftkit.errors import Refusal, refusal, unknown
from ftkit.files import read_json

HELD_OUT = "held_out_loss"
TEST = "test"
UNREADABLE = "unreadable"
NOT_THE_SETTING = ("seed", "out_dir")  # parameters of a point that are none of its setting
_LOWER = ("loss", "perplexity", "ppl", "nll", "error", "mse", "mae", "wer", "cer", "forgetting", "seconds", "_s",
          "_gib", "_bytes")  # endings of metrics
_RATE = "_per_s"
_LARGEST = 1e300  # sums of numbers below it are numbers


@dataclass(frozen=True)
class Setting:
    """A set of parameters, and what came out with each seed.

    Args:
        parameters: all but the seed.
        points: the finished ones, a seed each.
        scores: the metric by seed.
        lost: seeds that came to an end without a score: failed, or diverged.
    """

    parameters: dict
    points: tuple[dict, ...]
    scores: dict[int, float]
    lost: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.scores.values())

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None with one."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else None

    def mean_of(self, metric: str) -> float | None:
        """The mean of another metric over those seeds that have it; None where none has."""
        found = [number for number in (number_of(point, metric) for point in self.points) if number is not None]
        return fmean(found) if found else None


def read_points(folder: str | Path) -> list[dict]:
    """The points of a sweep's folder, or the run cards in and under any other folder in the same form.

    One that cannot be read is there with the status "unreadable" and the reason as its error.

    Raises:
        Refusal: there is no such folder, or neither is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise refusal("folder", "an existing folder of a sweep or of runs", str(folder), "Check the path.")
    if (folder / "points").is_dir():
        paths, read = sorted(folder.glob("points/*/point.json")), _read_point
    else:
        paths, read = sorted(folder.rglob(CARD)), _read_card
        if not paths:
            raise refusal("folder", "the folder of a sweep or of runs", str(folder),
                          f"It holds no points and no {CARD}.")
    return [_readable(path, folder, read) for path in paths]


def setting_of(parameters: Mapping) -> dict:
    """The parameters that make the setting: all but the seed; a trial's own settings stand beside the others."""
    flat = {**parameters, **(parameters["settings"] if isinstance(parameters.get("settings"), Mapping) else {})}
    return {name: value for name, value in flat.items() if name not in (*NOT_THE_SETTING, "settings")}


def key_of(parameters: Mapping) -> str:
    """The same text for the same setting, whatever the seed."""
    return json.dumps(setting_of(parameters), sort_keys=True, default=str)


def number_of(point: Mapping, metric: str) -> float | None:
    """A metric of a point where it is a finite number, else None."""
    value = (point.get("metrics") or {}).get(metric)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return float(value) if is_number else None


def numbers_in(points: Iterable[Mapping]) -> list[str]:
    """The metrics that are a number in at least one finished point."""
    names = {name: None for point in points if point["status"] == "done" for name in point["metrics"] or {}
             if number_of(point, name) is not None}
    return list(names)


def default_metric(points: Iterable[Mapping]) -> str:
    """The metric that settings are compared by where none is named: the held-out loss, or the only number there is.

    Raises:
        Refusal: there is no finished point, or several numbers and none of them the held-out loss.
    """
    known = numbers_in(points := list(points))
    if is_metric(points, HELD_OUT) or len(known) == 1:
        return HELD_OUT if is_metric(points, HELD_OUT) else known[0]
    if not known:
        raise refusal("points", "finished, one at least, with a number among its metrics",
                      ", ".join(sorted({point["status"] for point in points})) or "none")
    raise refusal("metric", "named, since there is no held_out_loss", ", ".join(known))


def is_metric(points: Iterable[Mapping], metric: str) -> bool:
    """Whether a finished point tells the metric, be it a finite number or none."""
    return any(point["status"] == "done" and metric in (point.get("metrics") or {}) for point in points)


def check_metric(points: Iterable[Mapping], metric: str) -> str:
    """The metric, if settings can be chosen by it.

    Raises:
        Refusal: no finished point has it as a finite number, or it is of the test split.
    """
    if is_test(metric):
        raise refusal("metric", "one of the held-out split", metric,
                      "What settings are chosen by is no longer a test: keep that split for the one that is chosen.")
    known = numbers_in(points := list(points))
    if metric in known:
        return metric
    if is_metric(points, metric):
        told = next(point["metrics"][metric] for point in points
                    if point["status"] == "done" and metric in (point.get("metrics") or {}))
        raise refusal(metric, "a finite number in one finished point at least", told)
    raise unknown("metric", metric, known)


def is_test(metric: str) -> bool:
    """Whether a metric's name says that it is of the test split."""
    return metric == TEST or metric.startswith(f"{TEST}_")


def lower_is_better(metric: str) -> bool:
    """Whether a metric's name says that less of it is better: losses, seconds, sizes.

    Example:
        >>> lower_is_better("held_out_loss"), lower_is_better("clinic")
        (True, False)
    """
    return metric.endswith(_LOWER) and not metric.endswith(_RATE)


def ranked(points: Iterable[Mapping], metric: str, lower: bool | None = None) -> list[Setting]:
    """The settings, best mean first; equal means in the order of the points.

    A setting of which a seed was pruned is left out: the seeds that stayed are its lucky ones.

    Args:
        metric: of the held-out split.
        lower: whether less of it is better; None goes by its name.

    Raises:
        Refusal: no finished point has the metric, or it is of the test split.
    """
    points = list(points)
    check_metric(points, metric)
    groups: dict[str, list[Mapping]] = {}
    for point in points:
        groups.setdefault(key_of(point["parameters"]), []).append(point)
    found = [_setting(group, metric) for group in groups.values() if all(one["status"] != "pruned" for one in group)]
    less = lower_is_better(metric) if lower is None else lower
    return sorted((one for one in found if one.scores), key=lambda one: one.mean if less else -one.mean)


def left_out(points: Iterable[Mapping], metric: str | None = None) -> list[dict]:
    """The points that no ranking counts, each with the reason as its error."""
    points = list(points)
    pruned = {key_of(point["parameters"]) for point in points if point["status"] == "pruned"}
    found = []
    for point in points:
        if point["status"] != "done":
            found.append({**point, "error": point.get("error") or _REASONS.get(point["status"], "")})
        elif key_of(point["parameters"]) in pruned:
            found.append({**point, "error": "another seed of it was pruned"})
        elif metric is not None and number_of(point, metric) is None:
            found.append({**point, "error": f"no finite {metric}"})
    return found


def differing(points: Iterable[Mapping]) -> list[str]:
    """The parameters of settings that are not the same in all points, in the order in which they are met."""
    settings = [setting_of(point["parameters"]) for point in points if point["status"] != UNREADABLE]
    names = dict.fromkeys(name for one in settings for name in one)
    return [name for name in names
            if len({json.dumps(one[name], default=str) if name in one else None for one in settings}) > 1]


_REASONS = {"pruned": "stopped early: others were better at the same step", "running": "not finished yet",
            "stopped": "stopped before its end", "waiting": "not begun yet"}


def _setting(group: list[Mapping], metric: str) -> Setting:
    scored = {point["parameters"].get("seed", 0): point for point in group
              if point["status"] == "done" and number_of(point, metric) is not None}
    lost = sorted(point["parameters"].get("seed", 0) for point in group
                  if point["status"] == "failed" or point["status"] == "done" and number_of(point, metric) is None)
    return Setting(setting_of(group[0]["parameters"]), tuple(scored.values()),
                   {seed: number_of(point, metric) for seed, point in scored.items()}, tuple(lost))


def _readable(path: Path, folder: Path, read) -> dict:
    place = path.parent.relative_to(folder).as_posix().removeprefix("points/")
    try:
        return {"id": place, **read(path)}
    except (Refusal, OSError) as error:
        return {"id": place, "parameters": {}, "status": UNREADABLE, "metrics": {}, "error": str(error)}


def _read_point(path: Path) -> dict:
    point = read_json(path)
    if not isinstance(point, dict) or not {"id", "parameters", "status"} <= point.keys():
        raise refusal(f"{path.parent.name}/{path.name}", "a point with id, parameters and status", point,
                      "Delete its folder: the sweep runs it again.")
    return {"error": None, **point, "metrics": point.get("metrics") or {}}


def _read_card(path: Path) -> dict:
    card = read_card(path.parent)
    return {"parameters": {**card.parameters, "seed": card.seed}, "status": card.status, "metrics": card.metrics,
            "error": card.error, "elapsed_s": card.elapsed_s, "attempts": 1}
