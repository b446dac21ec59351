"""One point from start to record: started in a process of its own, ended at its limit or when it is unwanted, noted.

Knows nothing about the other points. It runs in the slot of an executor, so it may be another machine's: all it needs
is a `Task`, and the sweep's folder under the same path.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ftkit.errors import Refusal
from ftkit.files import write_atomic
from ftkit.sweep.calls import Call
from ftkit.sweep.points import LOG, POINTS, Point, read_point, write_point
from ftkit.sweep.processes import run_call
from ftkit.sweep.targets import NOTEBOOK

END = ".end"  # a file in a point's folder: a word that says why it is to end
WORDS = {"pruned": "it was hopeless beside the others", "stopped": "the sweep was stopped"}

_ends: dict[str, str] = {}  # by folder: what asks for the end of points of this process


@dataclass(frozen=True)
class Task:
    """A point that is to run.

    Args:
        point: as it stands.
        out: the sweep's folder.
        call: what its process is to do.
        limit_s: seconds; None for no limit.
        memory_gib: what it may allocate; None for no limit.
    """

    point: Point
    out: str
    call: Call
    limit_s: float | None = None
    memory_gib: float | None = None


def supervised(task: Task) -> Point:
    """The point after its run, noted in its folder; a point that fails is no error here."""
    out = Path(task.out)
    folder = out / POINTS / task.point.id
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_point(out, task.point)  # a point whose worker died begins again with the same task
    if earlier.status == "done":  # it died after that
        return earlier
    point = write_point(out, replace(task.point, status="running", metrics={}, error=None, elapsed_s=None,
                                     attempts=earlier.attempts + 1))
    is_forgotten = _forgotten_by_dask()
    try:
        outcome = run_call(task.call, log=folder / LOG, limit_s=task.limit_s, memory_gib=task.memory_gib,
                           unwanted=lambda: "stopped" if is_forgotten() else _wanted_end(out, task.point.id))
    except KeyboardInterrupt:  # in a slot that is the main thread
        stopped(out, point)
        raise
    finally:
        may_go_on(out, task.point.id)
    ended, metrics, peak_gib = outcome.get("ended"), outcome.get("metrics", {}), outcome.get("peak_gib")
    if peak_gib and task.call.kind == NOTEBOOK:  # its kernel is another process
        peak_gib += metrics.get("peak_gib", 0.0)
    status = ended or ("done" if "metrics" in outcome else "failed")
    return write_point(out, replace(
        point, status=status, metrics=metrics, peak_gib=peak_gib,
        error=WORDS.get(ended, ended) if ended else outcome.get("error"),
        elapsed_s=outcome["elapsed_s"]))


def stopped(out: Path, point: Point) -> Point:
    """The point, noted as stopped if its record still says that it is running."""
    if point.status != "running":
        return point
    return write_point(out, replace(point, status="stopped", error=WORDS["stopped"]))


def end_point(out: Path, point: str, word: str) -> None:
    """Asks for the end of a point, on whatever machine it runs.

    Args:
        point: its id.
        word: the status that it gets: "pruned" or "stopped".
    """
    _ends[str(out / POINTS / point)] = word
    with suppress(OSError, Refusal):  # on a full disk the word is heard in this process alone
        write_atomic(out / POINTS / point / END, word)


def may_go_on(out: Path, point: str) -> None:
    """Takes back what asked for the end of a point."""
    _ends.pop(str(out / POINTS / point), None)
    (out / POINTS / point / END).unlink(missing_ok=True)


def _wanted_end(out: Path, point: str) -> str | None:
    """The word that asks for the end of a point; None where it may go on."""
    folder = out / POINTS / point
    try:
        return _ends.get(str(folder)) or (folder / END).read_text("utf-8") or None
    except OSError:
        return None


def _forgotten_by_dask() -> Callable[[], bool]:
    """Tells whether nobody waits for this slot's result any more: the sweep is gone, and its scheduler knows."""
    if "distributed" not in sys.modules:
        return lambda: False
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # Dask is loaded, and this is no worker of its
        return lambda: False
    key, tasks = worker.get_current_task(), worker.state.tasks
    return lambda: key not in tasks or tasks[key].state != "executing"
