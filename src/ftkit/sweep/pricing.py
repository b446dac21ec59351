"""What the points of a sweep that are still to run will take: hours, memory, disk.

Knows nothing about how points are run. It predicts from points that were measured, says from how many, and says so
where none was.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import psutil

from ftkit.errors import Refusal, refusal, unknown
from ftkit.files import DiskFull
from ftkit.memory.models import model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import METHODS, Setup
from ftkit.sweep import settings
from ftkit.units import GIB, bytes_to_words, counted, seconds_to_words

NEEDS = ("seconds", "peak_gib", "bytes")
_LENGTH = "max_steps"  # the parameter that a point's seconds are proportional to, where it has one


@dataclass(frozen=True)
class Price:
    """What points will take; str() is the text for a person.

    Args:
        points: still to run.
        jobs: at a time.
        seconds: until the last one ends; None where nothing was measured.
        peak_gib: of all jobs together.
        disk_bytes: that all points will write.
        free_bytes: of the disk.
        basis: what the figures rest on.
        warnings: what will not fit.
        planned_bytes: of tensors in the largest point, by the planner; None where memory was measured, or where a
            point's parameters name no method that it knows.
    """

    points: int
    jobs: int
    seconds: float | None
    peak_gib: float | None
    disk_bytes: int | None
    free_bytes: int
    basis: str
    warnings: tuple[str, ...] = ()
    planned_bytes: int | None = None

    def __str__(self) -> str:
        known = {"time": self.seconds and f"{seconds_to_words(self.seconds)} on {counted(self.jobs, 'job')}",
                 "memory": self.peak_gib and f"{bytes_to_words(self.peak_gib * GIB)} at its peak",
                 "planned": self.planned_bytes and f"{bytes_to_words(self.planned_bytes)} of tensors in the largest "
                            "point, by ftkit plan; programs and libraries come on top",
                 "disk": self.disk_bytes is not None and f"{bytes_to_words(self.disk_bytes)}, "
                         f"{bytes_to_words(self.free_bytes)} free"}
        figures = [f"{name}: {words}" for name, words in known.items() if words]
        return "\n".join([f"{counted(self.points, 'point')} to run", *figures, self.basis, *self.warnings])

    def refuse_full_disk(self) -> None:
        """Nothing, if the points' files have room.

        Raises:
            DiskFull: they have not; the sentence says how much is needed and how much is free.
        """
        if self.disk_bytes is not None and self.disk_bytes > self.free_bytes:
            raise DiskFull(str(refusal(
                "the disk of the sweep's folder", f"one with room for {bytes_to_words(self.disk_bytes)}",
                f"{bytes_to_words(self.free_bytes)} free", "Free some space, choose another folder, or sweep less.")))


def price(todo: Sequence[Mapping], finished: Iterable[Mapping] = (), folder: str | Path | None = None,
          jobs: int = 1, estimate: Mapping | None = None) -> Price:
    """What the points still to run will take.

    A point is taken to cost what the finished points cost that it shares most parameters with; where points have
    `max_steps`, its seconds are scaled by it.

    Args:
        todo: points, or their parameters.
        finished: points of the same sweep that are done.
        folder: the sweep's, for sizes of files and the room on its disk; None takes the working folder's disk.
        jobs: points at a time, 1 or more.
        estimate: "seconds", "peak_gib" and "bytes" of one point, as far as they are known; for when none is finished.

    Raises:
        Refusal: fewer than one job, or an estimate with another name or no number.

    Example:
        >>> found = price([{"rank": 2}, {"rank": 4}], estimate={"seconds": 60}, jobs=2)
        >>> found.seconds, found.basis
        (60.0, 'estimated by the caller, not measured')
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise refusal("jobs", "1 or more", jobs)
    asked = [settings.setting_of(point.get("parameters", point)) for point in todo]
    measured = [_measured(point, folder) for point in finished if point["status"] == "done"]
    given = _checked(estimate or {})
    each = {name: [_expected(one, measured, name, given) for one in asked] for name in NEEDS}
    seconds = _sum(each["seconds"], lambda costs: _makespan(costs, jobs))
    peak = _sum(each["peak_gib"], lambda costs: sum(sorted(costs)[-jobs:]))
    size = _sum(each["bytes"], sum)
    free = shutil.disk_usage(_existing(folder)).free
    return Price(len(asked), jobs, seconds, peak, None if size is None else round(size), free,
                 _basis(len(measured), given), tuple(_warnings(peak, size, free, jobs)),
                 _planned(asked) if peak is None else None)


def _measured(point: Mapping, folder: str | Path | None) -> dict:
    """A finished point's parameters and what it took; what was not measured is None."""
    peak = point.get("peak_gib")
    own = Path(folder) / "points" / point["id"] if folder is not None else None
    size = sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) if own and own.is_dir() else None
    return {"parameters": settings.setting_of(point["parameters"]), "seconds": point.get("elapsed_s"),
            "peak_gib": settings.number_of(point, "peak_gib") if peak is None else peak, "bytes": size}


def _expected(asked: Mapping, measured: Sequence[Mapping], name: str, given: Mapping) -> float | None:
    known = [one for one in measured if one[name] is not None]
    if not known:
        return given.get(name)
    alike = [_alike(asked, one["parameters"]) for one in known]
    nearest = [one for one, count in zip(known, alike, strict=True) if count == max(alike)]
    return fmean(one[name] * (_scale(asked, one["parameters"]) if name == "seconds" else 1) for one in nearest)


def _alike(one: Mapping, other: Mapping) -> int:
    return sum(one[name] == other[name] for name in one.keys() & other.keys() - {_LENGTH})


def _scale(asked: Mapping, measured: Mapping) -> float:
    steps = asked.get(_LENGTH), measured.get(_LENGTH)
    return steps[0] / steps[1] if all(isinstance(one, int | float) and one > 0 for one in steps) else 1.0


def _makespan(costs: Sequence[float], jobs: int) -> float:
    """When the last point ends, each being begun as soon as a job is free."""
    ends = [0.0] * jobs
    for cost in costs:
        place = ends.index(min(ends))
        ends[place] += cost
    return max(ends)


def _sum(costs: Sequence[float | None], combine: Callable) -> float | None:
    return None if not costs or any(cost is None for cost in costs) else float(combine(costs))


def _checked(estimate: Mapping) -> Mapping:
    for name, value in estimate.items():
        if name not in NEEDS:
            raise unknown("estimate", name, NEEDS)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise refusal(f"{name} of the estimate", "a number, 0 or more", value)
    return estimate


def _planned(asked: Sequence[Mapping]) -> int | None:
    """Bytes of tensors in the largest point, as training on a CPU holds them; None where one cannot be planned for."""
    found = []
    for point in asked:
        method = point.get("method")
        try:
            settings = {name: point[name] for name in METHODS.get(method, ()) if point.get(name) is not None}
            sizes = {name: point[name] for name in ("batch_size", "seq_len") if point.get(name) is not None}
            setup = Setup(method, settings, precision="float32", attention="efficient", **sizes)
            found.append(predict(model_named(point.get("model") or "ftkit-tiny"), setup).peak_bytes)
        except (Refusal, TypeError):
            return None
    return max(found, default=None)


def _basis(measured: int, given: Mapping) -> str:
    if measured:
        return f"measured on {counted(measured, 'finished point')} of this sweep"
    return "estimated by the caller, not measured" if given else "not measured: run one point first with --probe"


def _warnings(peak_gib: float | None, size_bytes: float | None, free_bytes: int, jobs: int) -> Iterable[str]:
    there_gib = psutil.virtual_memory().available / GIB
    if peak_gib is not None and peak_gib > there_gib:
        yield (f"memory: {counted(jobs, 'job')} at once would need {bytes_to_words(peak_gib * GIB)}, and "
               f"{bytes_to_words(there_gib * GIB)} are available. Take fewer jobs.")
    if size_bytes is not None and size_bytes > free_bytes:
        yield (f"disk: {bytes_to_words(size_bytes)} are needed, and {bytes_to_words(free_bytes)} are free. "
               "Free some space, choose another folder, or sweep less.")


def _existing(folder: str | Path | None) -> Path:
    place = Path(folder or ".").absolute()
    return next(one for one in (place, *place.parents) if one.exists())
