"""A sweep from a target and a grid to a folder of points: what is done is not run again, what fails costs only itself.

    table = sweep("ftkit.trials:run_trial", {"rank": [2, 4, 8]}, seeds=3, jobs=2, out="runs/ranks")

Knows nothing about the command line, nor about what the numbers mean.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ftkit.errors import refusal
from ftkit.files import write_atomic
from ftkit.locks import Lock
from ftkit.sweep import points as folders
from ftkit.sweep.calls import Call
from ftkit.sweep.executors import Forked, Serial
from ftkit.sweep.grid import Grid, Seeds, points_of, read_grid
from ftkit.sweep.points import Point
from ftkit.sweep.supervising import Task, end_point, supervised
from ftkit.sweep.targets import OUT_DIR, Target, find_target

_ASK_S = 0.5  # how often a wait looks up, so that Ctrl-C is heard at once
_END_S = 15.0  # for points that were told to end


@dataclass(frozen=True)
class Limits:
    """What a point may take.

    Args:
        limit_s: seconds; None for no limit.
        memory_gib: what it may allocate; None for no limit.
    """

    limit_s: float | None = None
    memory_gib: float | None = None

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise refusal(name, "more than 0, or left out", value)


@dataclass(frozen=True)
class Plan:
    """A sweep that was checked and not yet begun.

    Args:
        target: what is swept.
        points: all that was asked for, named.
        out: the sweep's folder.
        retry: whether failed points run again.
    """

    target: Target
    points: Sequence[Point]
    out: Path
    limits: Limits = field(default_factory=Limits)
    retry: bool = False


@dataclass(frozen=True)
class Step:
    """A point that came to its end, and how far the sweep is."""

    point: Point
    done: int
    total: int
    left_s: float | None


def plan(target: str | Target, grid: Grid | Mapping | Sequence | str | Path, *, out: str | Path, seeds: Seeds = None,
         fixed: Mapping | None = None, limits: Limits | None = None, retry: bool = False) -> Plan:
    """The points of a sweep, checked; nothing is written and nothing runs.

    Args:
        target: a lesson's stem or number, a notebook file, `module:function` or `file.py:function`.
        grid: a `Grid`, values by parameter, a list of points, or a file that holds one of these.
        out: the sweep's folder.
        seeds: so many from 0, or which.
        fixed: parameters that all points have.

    Raises:
        Refusal: something asked for cannot be; the sentence says what.
    """
    target = target if isinstance(target, Target) else find_target(target)
    asked = _asked(grid, target)
    asked = replace(asked, fixed={**asked.fixed, **(fixed or {})}, seeds=asked.seeds if seeds is None else seeds)
    out = Path(out).absolute()
    if out.exists() and not out.is_dir():
        raise refusal("sweep folder", "a folder", f"the file {out.name}", "Choose another place with --out.")
    return Plan(target, folders.named(points_of(asked, target), out), out, limits or Limits(), retry)


def run(asked: Plan, executor: Executor, at_once: int = 1) -> Iterator[Step]:
    """Each point as it comes to its end; what is done already is not among them.

    When the iteration is left early, by Ctrl-C too, running points are ended and noted as stopped.

    Args:
        executor: where the points run; it is not shut down.
        at_once: so many are given to it at a time.

    Raises:
        Refusal: the folder is another sweep's, or in use.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    lock = Lock(asked.out)
    try:
        points = folders.begin(asked.out, asked.target.name, asked.points, {"limits": asdict(asked.limits)})
        todo = [folders.interrupted(point) for point in points if _is_todo(point, asked.retry)]
        took_s = [point.elapsed_s for point in points if point.status == "done" and point.elapsed_s]
        done = len(points) - len(todo)
        tasks = (_task(asked, point, at_once) for point in todo)
        for point in _as_they_end(executor, tasks, at_once, asked.out):
            done += 1
            took_s += [point.elapsed_s] if point.status == "done" else []
            left = len(points) - done
            left_s = left * sum(took_s) / len(took_s) / at_once if took_s else None
            write_atomic(asked.out / "table.csv", table(asked.out).to_csv(index=False))
            yield Step(point, done, len(points), left_s)
    finally:
        lock.release()


def sweep(target: str, grid: Grid | Mapping | Sequence | str | Path, *, out: str | Path, seeds: Seeds = None,
          jobs: int = 1, fixed: Mapping | None = None, limit_s: float | None = None,
          memory_gib: float | None = None, retry: bool = False):
    """A table of all points, one row each, after all that were not done yet have run.

    Args:
        jobs: so many points at once; 1 lets a point use all cores.
        limit_s: seconds for a point; None for no limit.
        memory_gib: what a point may allocate; None for no limit.
        retry: run failed points again.

    Raises:
        Refusal: something asked for cannot be; nothing has run then.
    """
    asked = plan(target, grid, out=out, seeds=seeds, fixed=fixed, limits=Limits(limit_s, memory_gib), retry=retry)
    with open_executor(jobs) as executor:
        with closing(run(asked, executor, jobs)) as steps:
            for _ in steps:
                pass
    return table(asked.out)


def open_executor(jobs: int = 1, kind: str = "forked") -> Executor:
    """An executor for so many points at once.

    Raises:
        Refusal: fewer than one job.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise refusal("jobs", "1 or more", jobs)
    return Serial() if kind == "serial" else Forked(jobs)


def table(out: str | Path):
    """A row for each point of a sweep's folder: id, status, attempts, error, seconds, then param.* and metric.*."""
    import pandas

    rows = [{"id": one.id, "status": one.status, "attempts": one.attempts, "error": one.error,
             "elapsed_s": one.elapsed_s, "peak_gib": one.peak_gib,
             **{f"param.{name}": value for name, value in one.parameters.items()},
             **{f"metric.{name}": value for name, value in one.metrics.items()}}
            for one in folders.stored_points(Path(out))]
    return pandas.DataFrame(rows)


def _asked(grid: object, target: Target) -> Grid:
    match grid:
        case Grid():
            return grid
        case str() | Path():
            return read_grid(grid, target)
        case Mapping():
            return Grid(grid=grid)
        case Sequence():
            return Grid(points=grid)
    raise refusal("grid", "values by parameter, a list of points, or a file", grid)


def _is_todo(point: Point, retry: bool) -> bool:
    return point.status in ("waiting", "running", "stopped") or retry and point.status == "failed"


def _task(asked: Plan, point: Point, jobs: int) -> Task:
    target = asked.target
    folder = asked.out / folders.POINTS / point.id
    call = Call(target.kind, target.place, target.function, dict(point.parameters), str(folder),
                OUT_DIR in target.declared, os.getcwd(), target.is_heavy,
                {"OMP_NUM_THREADS": "1"} if jobs > 1 else {})
    return Task(point, str(asked.out), call, asked.limits.limit_s, asked.limits.memory_gib)


def _as_they_end(executor: Executor, tasks: Iterator[Task], at_once: int, out: Path) -> Iterator[Point]:
    """Each point as it ends, with at most so many given to the executor at a time."""
    running: dict[Future, Task] = {}
    try:
        while True:
            while len(running) < at_once and (task := next(tasks, None)):
                running[executor.submit(supervised, task)] = task
            if not running:
                return
            ended, _ = wait(running, timeout=_ASK_S, return_when=FIRST_COMPLETED)
            for future in ended:
                yield _result(future, running.pop(future), out)
    finally:
        _end_all(running, out)


def _result(future: Future, task: Task, out: Path) -> Point:
    """The point of a finished future; an error of the slot itself is the point's failure."""
    try:
        return future.result()
    except Exception as error:
        point = replace(task.point, status="failed", error=f"{type(error).__name__}: {error}",
                        attempts=task.point.attempts + 1)
        return folders.write_point(out, point)


def _end_all(running: Mapping[Future, Task], out: Path) -> None:
    left = [future for future in running if not future.cancel()]
    for future in left:
        end_point(out, running[future].point.id, "stopped")
    wait(left, timeout=_END_S)
