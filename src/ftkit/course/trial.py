"""The process in which one answer of a learner is tried: `python -m ftkit.course.trial`, started by `grading`.

It takes one task as JSON from its input, says when it is ready, and writes one report as JSON. What the learner's code
prints goes nowhere. Knows nothing about time limits: who started it ends it.
"""

import json
import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ftkit.course import catalogue
from ftkit.course.definitions import statements
from ftkit.course.judging import NOT_ATTEMPTED, Report, grade
from ftkit.units import GIB

READY = "ready"


def tried(exercise: str, lines: Sequence[tuple[str, str]]) -> tuple[Report, dict[str, str]]:
    """The report on an answer, and what stopped the statements that could not be run, by the names they define.

    Args:
        exercise: its id, such as "00.1".
        lines: pairs of a cell's name and one statement's source; run in order, each for itself.
    """
    known = catalogue.find_check(exercise)[1]
    namespace = {"__name__": "__main__", "display": _nothing, "get_ipython": _nothing}
    stopped = {}
    for number, (cell, source) in enumerate(lines):
        name = f"<cell {cell}, statement {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for inspect
        bound = {one for statement in statements(source) for one in statement.binds}
        try:
            exec(compile(source, name, "exec"), namespace)
            stopped = {one: why for one, why in stopped.items() if one not in bound}
        except BaseException as error:  # the learner's code may raise anything, SystemExit too
            stopped |= dict.fromkeys(bound, f"cell {cell} stopped with {type(error).__name__}: {_cut(error)}")
    if known.answer not in namespace:
        why = stopped.get(known.answer, "nothing defines it")
        return Report(exercise, known.title, NOT_ATTEMPTED, note=f"`{known.answer}` is not there: {why}."), stopped
    return grade(exercise, known, namespace[known.answer]), stopped


def limit_memory(memory_gib: float) -> bool:
    """Whether the system will refuse this process more memory than that; elsewhere it has to be watched."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    most = int(memory_gib * GIB)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):
        return False
    return True


def main() -> None:
    """Read a task, try the answer, write the report, and end without waiting for what the learner's code started."""
    task = json.loads(sys.stdin.buffer.read())
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    limit_memory(task["memory_gib"])
    _write(channel, {READY: True})
    report, stopped = tried(task["exercise"], task["lines"])
    _write(channel, {"report": asdict(report), "stopped": stopped})
    os._exit(0)


def _write(channel, message: Mapping):
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _cut(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # the learner's own exception
        text = ""
    return text if len(text) <= 100 else text[:99] + "…"


def _nothing(*_, **__):
    return None


if __name__ == "__main__":
    main()
