"""What happens inside the process of one point: the target is called, and what came out is told in one line.

Knows nothing about grids, executors or other points. A `Call` says all that it needs, as plain data.
"""

import importlib
import importlib.util
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ftkit.cards import CARD, Card, commit, read_card, versions, write_card
from ftkit.errors import Refusal, refusal
from ftkit.sweep.targets import NOTEBOOK, OUT_DIR, SEED

CHECK = "check"  # a kind of call: a function is asked about many points, and runs none
RUN = "run"  # the folder that a function gets as its out_dir
_LONGEST = 500  # characters of an error
_MODULE = "ftkit_swept"  # what a swept file is called when it is loaded


@dataclass(frozen=True)
class Call:
    """One call of a target, as plain data that can go to another process or machine.

    Args:
        kind: "notebook", "function" or "check".
        place: the notebook's file; or a module, or a file with the function.
        function: its name.
        parameters: as checked; {"points": [...]} for a check.
        folder: the point's own.
        gives_folder: whether the target takes `out_dir`.
        cwd: where a function works; a notebook works in the point's folder.
        limit_s: for a notebook, which keeps what it did until then.
        is_heavy: whether it needs torch and the like, so that starting warm pays.
        env: variables of its process, besides.
    """

    kind: str
    place: str
    function: str
    parameters: Mapping
    folder: str
    gives_folder: bool
    cwd: str
    limit_s: float | None = None
    is_heavy: bool = True
    env: Mapping = field(default_factory=dict)


def perform(call: Call) -> dict:
    """{"metrics": …} of a call that came to its end, or {"error": a sentence}; never raises, but for what ends all.

    A call that leaves no run card below its folder is given one there.
    """
    began_s, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    outcome = _performed(call)
    if call.kind != CHECK and not _cards_below(Path(call.folder)):
        _write_card(call, outcome, started, time.monotonic() - began_s)
    return outcome


def _performed(call: Call) -> dict:
    try:
        given = dict(call.parameters)
        if call.kind == NOTEBOOK:
            return {"metrics": _plain(_of_notebook(call, given))}
        os.chdir(call.cwd)
        sys.path[:] = dict.fromkeys([*sys.path, call.cwd])
        if call.kind == CHECK:
            return _checked(call)
        if call.gives_folder:
            given[OUT_DIR] = str(Path(call.folder) / RUN)
        found = _metrics_of(_function(call)(**given))
        return {"metrics": _plain(_of_cards(Path(call.folder)) if found is None else found)}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}".rstrip(": ")
        return {"error": " ".join(said.split())[:_LONGEST]}  # all of it is in the log


def _checked(call: Call) -> dict:
    function = _function(call)
    for point in call.parameters["points"]:
        function(**point)
    return {"metrics": {}}


class OwnSweep(BaseException):
    """A file that is loaded for its function sweeps itself, without a guard: all above that is loaded."""


_loading: list[str] = []


def refuse_while_loading() -> None:
    """Ends the loading of a file that, loaded for its function, begins a sweep of its own."""
    if _loading:
        raise OwnSweep


def _function(call: Call) -> Callable:
    """The function itself; a file is loaded under a name of its own, so its `__main__` part does not run."""
    if not call.place.endswith(".py"):
        return getattr(importlib.import_module(call.place), call.function)
    folder = str(Path(call.place).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(_MODULE, call.place)
    module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
    _loading.append(call.place)
    with suppress(OwnSweep):
        spec.loader.exec_module(module)
    _loading.clear()
    if not hasattr(module, call.function):
        raise refusal(f"function {call.function}", "defined above the sweep", f"a file that sweeps first, "
                      f"{Path(call.place).name}")
    return getattr(module, call.function)


def _of_notebook(call: Call, given: dict) -> dict:
    """The metrics of the run cards that the notebook wrote; its executed copy and page lie in the point's folder."""
    from ftkit.notebooks.run import run_notebook

    notebook, folder = Path(call.place), Path(call.folder)
    if call.gives_folder:
        given[OUT_DIR] = "."
    result = run_notebook(notebook, folder / notebook.name, given, cwd=folder, limit_s=call.limit_s, warm=True)
    if result.status != "ok":
        at = f" (cell {result.cell})" if result.cell else ""
        raise Refusal(f"{result.error}{at}")
    return {**_of_cards(folder), "seconds": result.seconds, "peak_gib": result.peak_gib}


def _write_card(call: Call, outcome: Mapping, started: str, elapsed_s: float) -> None:
    """The card of a target that writes none; what torch alone knows is in it where the target has loaded torch."""
    parameters, more = dict(call.parameters), {}
    seed = parameters.pop(SEED, 0)
    if "torch" in sys.modules:
        from ftkit.device import hardware, thread_count

        more = {"hardware": hardware(), "threads": thread_count()}
    with suppress(Refusal, OSError):  # a full disk, or a seed that is no number: the point's own record says it, too
        write_card(call.folder, Card(
            call.function or Path(call.place).stem, parameters, seed, started, versions=versions(), commit=commit(),
            elapsed_s=round(elapsed_s, 3), status="failed" if "error" in outcome else "done",
            error=outcome.get("error"), metrics=outcome.get("metrics", {}), **more))


def _cards_below(folder: Path) -> list[Path]:
    """The run cards that a target wrote; the one in the folder itself is of an earlier attempt."""
    return [path for path in sorted(folder.rglob(CARD)) if path.parent != folder]


def _of_cards(folder: Path) -> dict:
    """The metrics of the only run card below a folder; of several, each under its folder's name."""
    cards = {path.parent: read_card(path.parent) for path in _cards_below(folder)}
    if len(cards) == 1:
        return dict(next(iter(cards.values())).metrics)
    return {f"{place.relative_to(folder).as_posix()}.{name}": value
            for place, card in cards.items() for name, value in card.metrics.items()}


def _metrics_of(value: object) -> dict | None:
    if value is None or isinstance(value, Mapping):
        return None if value is None else dict(value)
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise refusal("what the function returns", "a dict of metrics, a number or nothing", value)
    return {"value": float(value)}


def _plain(value: object) -> object:
    """The value as JSON can hold it: arrays and tensors as numbers and lists, anything else as its text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
