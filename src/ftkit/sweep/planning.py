"""What a sweep is asked for, checked before anything runs: target, points, limits.

Knows nothing about running; a `Plan` is plain data.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ftkit.errors import Refusal, refusal, unknown
from ftkit.notebooks.parameters import located
from ftkit.sweep import points as folders
from ftkit.sweep.calls import CHECK, Call, refuse_while_loading
from ftkit.sweep.grid import Grid, Seeds, points_of, read_grid
from ftkit.sweep.points import Point
from ftkit.sweep.processes import run_call
from ftkit.sweep.pruning import KINDS
from ftkit.sweep.study import Study
from ftkit.sweep.targets import NOTEBOOK, Target, find_target
from ftkit.units import counted

Asked = Grid | Mapping | Sequence | str | Path


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
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)
                                      or not 0 < value < math.inf):
                raise refusal(name, "more than 0, or left out", value)


@dataclass(frozen=True)
class Plan:
    """A sweep that was checked and not yet begun.

    Args:
        target: what is swept.
        points: all that was asked for, named; of a study none is known beforehand.
        out: the sweep's folder.
        limits: of each point.
        retry: whether failed points run again; and, where nothing is pruned, those that were pruned.
        prune: how hopeless points are told, see `pruning`; None runs all to their end.
        gpus: one is given to each point, by CUDA_VISIBLE_DEVICES; empty leaves that alone.
        metric: what the summary and a study go by; None takes the held-out loss, or the only number there is.
        lower: whether less of it is better; None goes by its name.
        study: what proposes the points, where they are not given.
    """

    target: Target
    points: Sequence[Point]
    out: Path
    limits: Limits = field(default_factory=Limits)
    retry: bool = False
    prune: str | None = None
    gpus: Sequence[str] = ()
    metric: str | None = None
    lower: bool | None = None
    study: Study | None = None

    def __post_init__(self):
        if self.prune is not None and self.prune not in KINDS:
            raise unknown("prune", self.prune, KINDS)

    @property
    def total(self) -> int:
        """How many points there will be."""
        return self.study.total if self.study else len(self.points)

    def standing(self) -> list[Point]:
        """The points as the folder has them; a study's are those that it proposed so far."""
        if self.study:
            return list(folders.stored_points(self.out))
        return [folders.read_point(self.out, one) for one in self.points]

    def outdated(self) -> str:
        """A sentence about finished points that ran other code than today's; empty where there are none.

        They are not run again. The code is that of the target's own file, and not of what it imports.
        """
        many = sum(one.status in ("done", "pruned") and one.source not in ("", self.target.source)
                   for one in self.standing())
        return many and (f"{counted(many, 'finished point')} ran before {self.target.name} was changed, and "
                         f"{'stands' if many == 1 else 'stand'} as they were. To run all of it anew, choose another "
                         "folder with --out.") or ""

    def is_todo(self, point: Point) -> bool:
        """Whether a point is to run: it never came to an end, or it failed or was pruned and is to be tried again."""
        again = ("failed", "pruned") if self.prune is None else ("failed",)
        return point.status in ("waiting", "running", "stopped") or self.retry and point.status in again


def plan(target: str | Callable | Target, grid: Asked | Study, *, out: str | Path, seeds: Seeds = None,
         fixed: Mapping | None = None, limits: Limits | None = None, **more: object) -> Plan:
    """The points of a sweep, checked; nothing is written and nothing runs.

    Args:
        target: a lesson's stem or number, a notebook file, `module:function` or `file.py:function`.
        grid: a `Grid`, values by parameter, a list of points, a file that holds one of these, or a `Study`.
        out: the sweep's folder.
        seeds: so many from 0, or which.
        fixed: parameters that all points have.
        more: `retry`, `prune`, `gpus`, `metric`, `lower`, see `Plan`.

    Raises:
        Refusal: something asked for cannot be; the sentence says what.
    """
    refuse_while_loading()
    target = target if isinstance(target, Target) else find_target(target)
    out = Path(out).absolute()
    if out.exists() and not out.is_dir():
        raise refusal("sweep folder", "a folder", f"the file {out.name}", "Choose another place with --out.")
    asked = grid if isinstance(grid, Study) else _asked(grid, target)
    asked = replace(asked, fixed={**asked.fixed, **(fixed or {})}, seeds=asked.seeds if seeds is None else seeds)
    if isinstance(asked, Study):
        return Plan(target, (), out, limits or Limits(), study=asked.checked(target), **more)
    parameters = [_with_places(one, target) for one in points_of(asked, target)]
    _ask(target, parameters)
    points = folders.named(parameters, out)
    return Plan(target, points, out, limits or Limits(), **more)


def _ask(target: Target, parameters: Sequence[Mapping]) -> None:
    """Asks the function beside the target about all points, in a process of its own."""
    if not target.asks:
        return
    with TemporaryDirectory() as folder:
        call = Call(CHECK, target.place, target.asks, {"points": list(parameters)}, folder, False, os.getcwd(),
                    is_heavy=target.is_heavy)
        outcome = run_call(call, log=Path(folder) / folders.LOG)
    if outcome.get("error"):
        raise Refusal(outcome["error"])


def _with_places(parameters: Mapping, target: Target) -> dict:
    """The parameters with files of the caller's made absolute: a notebook works in another folder."""
    if target.kind != NOTEBOOK:
        return dict(parameters)
    return {name: located(name, value) for name, value in parameters.items()}


def _asked(grid: object, target: Target) -> Grid:
    match grid:
        case Grid():
            return _for(grid, target)
        case str() | Path():
            return _for(read_grid(grid, target), target)
        case Mapping():
            return Grid(grid=grid)
        case Sequence():
            return Grid(points=grid)
    raise refusal("grid", "values by parameter, a list of points, or a file", json.dumps(grid, default=str))


def _for(grid: Grid, target: Target) -> Grid:
    if grid.target and find_target(grid.target).name != target.name:
        raise refusal("target", f"{grid.target}, which the grid is for", target.name, "Take another grid.")
    return grid
