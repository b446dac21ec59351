"""The commands `ftkit sweep` and `ftkit compare`: arguments, progress, what is printed.

Knows nothing that the sweep knows.
"""

import argparse
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path


def add_(command: Callable) -> None:
    """Adds the commands' arguments.

    Args:
        command: makes the parser of a command from its function.
    """
    it = command(sweep)
    it.add_argument("target", nargs="?", help="a lesson's stem or number, a notebook file, module:function or "
                    "file.py:function (default: the one that the grid file names)")
    it.add_argument("--grid", action="append", default=[], metavar="NAME=VALUE,VALUE",
                    help="values of a parameter; every combination is a point")
    it.add_argument("--grid-file", metavar="FILE", help="JSON with grid, fixed, star, points, constraints, seeds, "
                    "groups; or a list of points as JSON, JSON lines or CSV")
    it.add_argument("--where", action="append", default=[], metavar="CONSTRAINT",
                    help="'alpha = 2*rank' sets a parameter, 'alpha >= rank' keeps points")
    it.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
                    help="a parameter that all points have")
    it.add_argument("--study", type=int, metavar="N", help="let optuna propose N settings from ranges and grids")
    it.add_argument("--range", dest="ranges", action="append", default=[], metavar="NAME=LOW..HIGH[:log]",
                    help="a parameter's range in a study")
    it.add_argument("--seeds", type=int, metavar="N", help="repeat each point with seeds 0 to N-1")
    it.add_argument("--out", help="the sweep's folder (default: runs/sweep-NAME)")
    it.add_argument("--dry-run", action="store_true", help="say what would run and what it takes; run nothing")
    it.add_argument("--probe", action="store_true", help="run one point, then say what the others take")
    it.add_argument("--retry", action="store_true", help="run failed points again; without --prune pruned ones, too")
    it.add_argument("--resume", action="store_true", help="go on with what is in the folder (always so)")
    _add_where_(it)
    _add_choice_(it)
    it = command(compare)
    it.add_argument("first", metavar="RUNS_A", help="folder of a sweep, or with runs in it")
    it.add_argument("second", metavar="RUNS_B", help="likewise; it is compared with the first")
    _add_choice_(it)
    it.add_argument("--json", metavar="FILE", help="write the numbers as data, too")


def _add_where_(it: argparse.ArgumentParser) -> None:
    it.add_argument("--jobs", type=int, metavar="N", help="points at once (default: 1, or a GPU or worker each)")
    it.add_argument("--limit", type=float, metavar="SECONDS", help="for each point (default: none)")
    it.add_argument("--memory", type=float, metavar="GIB", help="what a point may allocate (default: all)")
    it.add_argument("--prune", nargs="?", const="halving", metavar="KIND",
                    help="end hopeless points early, by their held-out loss: halving (default) or median")
    it.add_argument("--executor", default="forked", metavar="KIND", help="forked (default) or serial")
    it.add_argument("--dask", metavar="ADDRESS", help="run on Dask's workers: local, or a scheduler's address")
    it.add_argument("--gpus", metavar="0,1", help="give each point one of these (default: all there are)")


def _add_choice_(it: argparse.ArgumentParser) -> None:
    it.add_argument("--metric", help="what settings are compared by (default: held_out_loss, or the only number)")
    it.add_argument("--lower-is-better", action=argparse.BooleanOptionalAction, help="(default: by the metric's name)")


def sweep(options: argparse.Namespace) -> int:
    """Run a notebook or a function over a grid of parameters, and go on where an earlier run of it ended."""
    asked, kind = _plan(options), "dask" if options.dask else options.executor
    jobs = options.jobs if options.jobs is not None else len(asked.gpus) or None
    print(f"{asked.target.name}: {asked.total} points in {_shown(asked.out)}", flush=True)
    if outdated := asked.outdated():
        print(outdated, flush=True)
    if options.dry_run:
        for point in asked.standing():
            print(f"  {point.id}  {point.status}")
        print(_price(asked, jobs))
        return 0
    from ftkit.sweep.executors import opened

    _price(asked, jobs).refuse_full_disk()
    try:
        with _stoppable(), opened(kind, jobs, options.dask) as where:
            _go_through(asked, *where, first=options.probe)
    except KeyboardInterrupt:
        print(f"ftkit: stopped; what is done is in {_shown(asked.out)}/table.md. The same command goes on.",
              file=sys.stderr)
        return 130
    if options.probe:
        print(_price(asked, jobs))
        return 0
    return _close(asked)


def compare(options: argparse.Namespace) -> int:
    """Compare two sweeps or sets of runs, paired by seed: the difference, its interval, and what luck alone gives."""
    from ftkit.files import write_json
    from ftkit.sweep.compare import folders

    found = folders(options.first, options.second, options.metric, options.lower_is_better)
    print(found)
    if options.json:
        write_json(options.json, found.record())
    return 0


def _go_through(asked, executor, at_once: int, first: bool) -> None:
    """Runs the points and tells about each; the first alone if asked to."""
    from dataclasses import replace

    from ftkit.sweep.running import run
    from ftkit.units import seconds_to_words

    if first and not asked.study:
        asked = replace(asked, points=[one for one in asked.standing() if asked.is_todo(one)][:1])
    with closing(run(asked, executor, at_once)) as steps:
        for step in steps:
            left = f"  about {seconds_to_words(math.ceil(step.left_s))} left" if step.left_s else ""
            print(f"[{step.done}/{step.total}] {_line(step.point)}{left}", flush=True)
            if first:
                return


def _plan(options: argparse.Namespace):
    """What was asked for, checked."""
    from ftkit.errors import refusal
    from ftkit.sweep.executors import visible_gpus
    from ftkit.sweep.planning import Limits, plan
    from ftkit.sweep.targets import find_target

    target = find_target(options.target or _target_named_in(options.grid_file))
    fixed = {name: target.parse(name, text) for name, text in _pairs("-p", options.parameters)}
    if options.ranges and options.study is None:
        raise refusal("--range", "given with --study", "no --study", "Add --study N, or write values with --grid.")
    if options.gpus and options.dask and options.dask != "local":
        raise refusal("--gpus", "left out with a scheduler's address", options.gpus,
                      "Start each worker with CUDA_VISIBLE_DEVICES set to its own.")
    gpus = options.gpus.replace(" ", "").split(",") if options.gpus else () if options.dask else visible_gpus()
    out = options.out or Path("runs") / f"sweep-{target.name.replace(':', '-')}"
    return plan(target, _grid(options, target), out=out, seeds=options.seeds, fixed=fixed,
                limits=Limits(options.limit, options.memory), retry=options.retry, prune=options.prune,
                gpus=tuple(gpus), metric=options.metric, lower=options.lower_is_better)


def _target_named_in(grid_file: str | None) -> str:
    from ftkit.errors import refusal
    from ftkit.files import read_json

    content = read_json(grid_file) if grid_file and grid_file.endswith(".json") else None
    if not isinstance(content, dict) or not content.get("target"):
        raise refusal("target", "a notebook or a function", "none", "Write ftkit sweep TARGET, or name it in the grid "
                      "file: \"target\": \"module:function\".")
    return str(content["target"])


def _grid(options: argparse.Namespace, target):
    """The grid or the study that the arguments describe."""
    from dataclasses import replace

    from ftkit.errors import refusal
    from ftkit.sweep.grid import Grid, grid_of_texts, read_grid
    from ftkit.sweep.study import Study, range_of

    asked = read_grid(options.grid_file, target) if options.grid_file else Grid()
    asked = replace(asked, grid={**asked.grid, **grid_of_texts(options.grid, target)},
                    constraints=[*asked.constraints, *options.where])
    if options.study is None:
        return asked
    if asked.points or asked.star or asked.groups:
        raise refusal("grid file of a study", "one with grid, fixed, constraints and seeds alone", options.grid_file)
    ranges = {name: range_of(name, text, target) for name, text in _pairs("--range", options.ranges)}
    return Study(options.study, ranges, asked.grid, asked.fixed, asked.constraints, asked.seeds, options.metric,
                 options.lower_is_better)


def _pairs(option: str, texts: list[str]) -> list[tuple[str, str]]:
    from ftkit.errors import refusal

    pairs = [text.partition("=")[::2] for text in texts]
    for place, (name, _) in enumerate(pairs):
        if "=" not in texts[place]:
            raise refusal(option, "name=value", texts[place])
        if name in dict(pairs[:place]):
            raise refusal(f"{option} {name}", "given once", "twice", "Keep one of the two.")
    return pairs


def _price(asked, jobs: int | None):
    """What the points that are still to run will take."""
    from dataclasses import asdict

    from ftkit.sweep.pricing import price

    points = asked.standing()
    todo = [asdict(one) for one in points if asked.is_todo(one)]
    todo += [{"parameters": dict(asked.study.fixed)}] * max(0, asked.total - len(points)) if asked.study else []
    return price(todo, [asdict(one) for one in points if one.status == "done"], asked.out,
                 1 if jobs is None else jobs)


def _close(asked) -> int:
    """The table, and what did not come to a good end; 1 if anything."""
    from ftkit.sweep import summary
    from ftkit.sweep.running import write_summary

    write_summary(asked, figure=True)
    print((asked.out / summary.TEXT).read_text("utf-8").rstrip())
    failed = [one for one in asked.standing() if one.status == "failed"]
    if failed:
        print(f"{len(failed)} of {asked.total} failed; the same command with --retry runs them again")
    print(f"table and figure are in {_shown(asked.out)}")
    return 1 if failed else 0


def _line(point) -> str:
    took = f"  {point.elapsed_s:.1f} s" if point.elapsed_s is not None else ""
    numbers = [f"{name} {value:.4g}" for name, value in point.metrics.items()
               if isinstance(value, float) and not name.endswith(("_s", "_gib"))][:3]
    return "  ".join([f"{point.id}  {point.status}{took}", *numbers, *([point.error] if point.error else [])])


def _shown(folder: Path) -> str:
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


@contextmanager
def _stoppable() -> Iterator[None]:
    """While open, SIGTERM stops the sweep as Ctrl-C does; while it stops, neither keeps it from writing its table."""
    def stop(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in heard if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
