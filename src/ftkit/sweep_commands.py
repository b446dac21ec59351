"""The command `ftkit sweep`: its arguments, its progress, its table. Knows nothing that the sweep knows."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def add_(command: Callable) -> None:
    """Adds the commands' arguments.

    Args:
        command: makes the parser of a command from its function.
    """
    it = command(sweep)
    it.add_argument("target", help="a lesson's stem or number, a notebook file, module:function or file.py:function")
    it.add_argument("--grid", action="append", default=[], metavar="NAME=VALUE,VALUE",
                    help="values of a parameter; every combination is a point")
    it.add_argument("--grid-file", metavar="FILE", help="JSON with grid, fixed, star, points, constraints, seeds, "
                    "groups; or a list of points as JSON, JSON lines or CSV")
    it.add_argument("--where", action="append", default=[], metavar="CONSTRAINT",
                    help="'alpha = 2*rank' sets a parameter, 'alpha >= rank' keeps points")
    it.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
                    help="a parameter that all points have")
    it.add_argument("--seeds", type=int, metavar="N", help="repeat each point with seeds 0 to N-1")
    it.add_argument("--jobs", type=int, default=1, metavar="N", help="points at once (default: 1)")
    it.add_argument("--out", help="the sweep's folder (default: runs/sweep-NAME)")
    it.add_argument("--limit", type=float, metavar="SECONDS", help="for each point (default: none)")
    it.add_argument("--memory", type=float, metavar="GIB", help="what a point may allocate (default: all)")
    it.add_argument("--retry", action="store_true", help="run failed points again")


def sweep(options: argparse.Namespace) -> int:
    """Run a notebook or a function over a grid of parameters, and go on where an earlier run of it ended."""
    from ftkit.sweep.running import open_executor, run
    from ftkit.units import seconds_to_words

    asked = _plan(options)
    print(f"{asked.target.name}: {len(asked.points)} points in {_shown(asked.out)}", flush=True)
    with _terminable(), open_executor(options.jobs) as executor, closing(run(asked, executor, options.jobs)) as steps:
        try:
            for step in steps:
                left = f"  about {seconds_to_words(step.left_s)} left" if step.left_s else ""
                print(f"[{step.done}/{step.total}] {_line(step.point)}{left}", flush=True)
        except KeyboardInterrupt:
            steps.close()
            print(f"ftkit: stopped; the table so far is in {_shown(asked.out)}. The same command goes on.",
                  file=sys.stderr)
            return 130
    return _close(asked)


def _plan(options: argparse.Namespace):
    """What was asked for, checked."""
    from dataclasses import replace

    from ftkit.sweep.grid import Grid, grid_of_texts, read_grid
    from ftkit.sweep.running import Limits, plan
    from ftkit.sweep.targets import find_target

    target = find_target(options.target)
    asked = read_grid(options.grid_file, target) if options.grid_file else Grid()
    asked = replace(asked, grid={**asked.grid, **grid_of_texts(options.grid, target)},
                    constraints=[*asked.constraints, *options.where])
    fixed = {name: target.parse(name, text) for name, text in _pairs(options.parameters)}
    out = options.out or Path("runs") / f"sweep-{target.name.replace(':', '-')}"
    return plan(target, asked, out=out, seeds=options.seeds, fixed=fixed,
                limits=Limits(options.limit, options.memory), retry=options.retry)


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    from ftkit.errors import refusal

    for text in texts:
        if "=" not in text:
            raise refusal("-p", "name=value", text)
    return [(text.partition("=")[0], text.partition("=")[2]) for text in texts]


def _close(asked) -> int:
    """Says what did not come to a good end; 1 if anything."""
    from ftkit.sweep.points import stored_points

    points = {one.id: one for one in stored_points(asked.out)}
    failed = [points[one.id] for one in asked.points if points[one.id].status == "failed"]
    for point in failed:
        print(f"failed: {point.id}: {point.error}")
    if failed:
        print(f"{len(failed)} of {len(asked.points)} failed; the same command with --retry runs them again")
    print(f"the table is in {_shown(asked.out)}")
    return 1 if failed else 0


def _line(point) -> str:
    took = f"  {point.elapsed_s:.1f} s" if point.elapsed_s is not None else ""
    numbers = [f"{name} {value:.4g}" for name, value in point.metrics.items()
               if isinstance(value, float) and not name.endswith("_s")][:3]
    return "  ".join([f"{point.id}  {point.status}{took}", *numbers, *([point.error] if point.error else [])])


def _shown(folder: Path) -> str:
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


class _terminable:
    """While open, SIGTERM stops the sweep as Ctrl-C does."""

    def __enter__(self):
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._stop)

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _stop(self, *_):
        raise KeyboardInterrupt
