"""A sweep from a plan to a folder of points: what is done is not run again, what fails costs only itself.

    table = sweep("ftkit.trials:run_trial", {"rank": [2, 4, 8]}, seeds=3, jobs=2, out="runs/ranks")

Knows nothing about the command line, nor about what the numbers mean.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ftkit.errors import refusal
from ftkit.locks import Lock
from ftkit.sweep import executors, summary
from ftkit.sweep import points as folders
from ftkit.sweep.calls import Call
from ftkit.sweep.grid import Seeds
from ftkit.sweep.planning import Asked, Limits, Plan, plan
from ftkit.sweep.points import Point
from ftkit.sweep.pruning import spread
from ftkit.sweep.study import Study, proposed
from ftkit.sweep.supervising import Task, end_point, may_go_on, stopped, supervised
from ftkit.sweep.targets import NOTEBOOK, OUT_DIR
from ftkit.sweep.watching import Watch

_LOOK_S = 0.5  # how often a wait looks up: for Ctrl-C, and at the traces
_TO_KEEP_S = 20.0  # for a notebook past its limit, to write its copy and page
_END_S = 15.0  # for points that were told to end


@dataclass(frozen=True)
class Step:
    """A point that came to its end, and how far the sweep is.

    Args:
        done: points that need not run any more.
        total: of the sweep.
        left_s: an estimate from the points that ran; None before the first.
    """

    point: Point
    done: int
    total: int
    left_s: float | None


def run(asked: Plan, executor: Executor, at_once: int = 1) -> Iterator[Step]:
    """Each point as it comes to its end; what is done already is not among them.

    The table in the folder is written after each point. When the iteration is left early, by Ctrl-C too, running points
    are ended and noted as stopped.

    Args:
        executor: where the points run; it is not shut down.
        at_once: so many are given to it at a time.

    Raises:
        Refusal: the folder is another sweep's, in use, or not to be written to; or pruning with an executor that
            cannot.
    """
    if asked.prune and isinstance(executor, executors.Serial):
        raise refusal("executor", "one that can look at a point while it runs, to prune", "serial")
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        lock = Lock(asked.out)
    except OSError as error:
        raise refusal(f"sweep folder {asked.out.name}", "one that can be written to", error.strerror,
                      "Choose another place with --out.") from error
    try:
        folders.begin(asked.out, asked.target.name, asked.points, {"limits": asdict(asked.limits)})
        try:
            yield from _steps(asked, executor, at_once)
        finally:
            write_summary(asked)  # with those that were stopped
    finally:
        lock.release()


def _steps(asked: Plan, executor: Executor, at_once: int) -> Iterator[Step]:
    points = asked.standing()
    todo = [one for one in points if asked.is_todo(one)]
    took_s = [one.elapsed_s for one in points if one.status == "done"]
    done = len(points) - len(todo)
    watch = Watch(asked.out, asked.prune, points) if asked.prune else None
    source = proposed(asked.study, asked.target, asked.out, asked.is_todo) if asked.study else iter(
        spread(todo) if asked.prune else todo)
    with closing(_Slots(asked, executor, at_once, watch).points(source)) as ended:
        for point in ended:
            done += 1
            took_s += [] if point.elapsed_s is None else [point.elapsed_s]
            left = (asked.total - done) / min(at_once, max(1, asked.total - done))
            write_summary(asked)
            yield Step(point, done, asked.total, left * sum(took_s) / len(took_s) if took_s else None)


def sweep(target: str | Callable, grid: Asked | Study, *, out: str | Path, seeds: Seeds = None,
          jobs: int | None = None, fixed: Mapping | None = None, limit_s: float | None = None,
          memory_gib: float | None = None, executor: str = "forked", dask: str | None = None,
          **more: object):
    """A pandas table of all points, one row each, after all that were not done yet have run.

    Args:
        target: a lesson's stem or number, a notebook file, `module:function`, `file.py:function` or a function.
        grid: a `Grid`, values by parameter, a list of points, a file that holds one of these, or a `Study`.
        out: the sweep's folder; one that holds points of this target is gone on with.
        seeds: so many from 0, or which.
        jobs: so many points at once, on one thread each; 1 lets a point use all cores.
        fixed: parameters that all points have.
        limit_s: seconds for a point; None for no limit.
        memory_gib: what a point may allocate; None for no limit.
        executor: "forked", or "serial".
        dask: "local" or the address of a scheduler: then the points run on Dask's workers.
        more: `retry`, `prune`, `gpus`, `metric`, `lower`, see `planning.Plan`.

    Raises:
        Refusal: something asked for cannot be; nothing has run then.
    """
    asked = plan(target, grid, out=out, seeds=seeds, fixed=fixed, limits=Limits(limit_s, memory_gib), **more)
    kind = "dask" if dask else executor
    if outdated := asked.outdated():
        warnings.warn(outdated, stacklevel=2)
    with executors.opened(kind, jobs, dask) as (where, at_once), closing(run(asked, where, at_once)) as steps:
        for _ in steps:
            pass
    write_summary(asked, figure=True)
    return table(asked.out)


def table(out: str | Path):
    """A pandas table with a row for each point of a sweep's folder: id, status, …, then param.* and metric.*."""
    import pandas

    plain = ("id", "status", "attempts", "elapsed_s", "peak_gib")
    return pandas.DataFrame([{**{name: getattr(one, name) for name in plain}, "error": one.error or "",
                              **{f"param.{name}": value for name, value in one.parameters.items()},
                              **{f"metric.{name}": value for name, value in one.metrics.items()}}
                             for one in folders.stored_points(Path(out))])


def write_summary(asked: Plan, figure: bool = False) -> None:
    """Writes table.csv and table.md into the sweep's folder, and the figure if asked for."""
    points = [asdict(one) for one in folders.stored_points(asked.out)]
    summary.write(asked.out, points, asked.metric, asked.lower)
    if figure:
        summary.draw(asked.out, points, asked.metric, asked.lower)


class _Slots:
    """The points that an executor has at the moment."""

    def __init__(self, asked: Plan, executor: Executor, at_once: int, watch: Watch | None):
        self._asked, self._executor, self._at_once, self._watch = asked, executor, at_once, watch
        self._running: dict[Future, Task] = {}

    def points(self, source: Iterator[Point]) -> Iterator[Point]:
        """Each point of the source once it has ended; the next is taken when a slot is free."""
        try:
            while True:
                while len(self._running) < self._at_once and (point := next(source, None)):
                    if ended := self._begin(point):
                        yield ended
                if not self._running:
                    return
                ended, _ = wait(self._running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield self._end(future)
                if self._watch:
                    self._watch.look(task.point for task in self._running.values())
        finally:
            self._stop()

    def _begin(self, point: Point) -> Point | None:
        if self._watch:
            self._watch.add(point)
            if spared := self._watch.spared(point):
                return spared
        task = self._task(point)
        may_go_on(self._asked.out, point.id)
        self._running[self._executor.submit(supervised, task)] = task
        return None

    def _task(self, point: Point) -> Task:
        asked, target = self._asked, self._asked.target
        env = {"OMP_NUM_THREADS": "1"} if self._at_once > 1 else {}
        in_use = [task.call.env.get("CUDA_VISIBLE_DEVICES") for task in self._running.values()]
        gpu = executors.gpu_for(asked.gpus, in_use)
        env |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        folder = asked.out / folders.POINTS / point.id
        call = Call(target.kind, target.place, target.function, dict(point.parameters), str(folder),
                    OUT_DIR in target.declared, os.getcwd(), asked.limits.limit_s, target.is_heavy, env)
        limit_s = asked.limits.limit_s
        if limit_s and target.kind == NOTEBOOK:  # its own limit comes first, and keeps what was done
            limit_s += _TO_KEEP_S
        return Task(replace(point, source=target.source), str(asked.out), call, limit_s, asked.limits.memory_gib)

    def _end(self, future: Future) -> Point:
        """The point of a finished future; an error of the slot itself is the point's failure."""
        task = self._running.pop(future)
        try:
            point = future.result()
        except (Exception, CancelledError) as error:
            error = f"{type(error).__name__}: {error}".rstrip(": ")
            point = folders.write_point(self._asked.out, replace(task.point, status="failed", error=error,
                                                                 attempts=task.point.attempts + 1))
        if self._watch:
            self._watch.ended(point)
        return point

    def _stop(self) -> None:
        """Ends what runs, and waits for it, on whatever machine it is."""
        out, points = self._asked.out, [task.point for task in self._running.values()]
        for point in points:
            end_point(out, point.id, "stopped")
        deadline_s = time.monotonic() + _END_S
        wait([future for future in self._running if not future.cancel()], timeout=_END_S)
        while time.monotonic() < deadline_s and any(folders.read_point(out, one).status == "running"
                                                    for one in points):
            time.sleep(0.05)
        for point in points:
            stopped(out, folders.read_point(out, point))
