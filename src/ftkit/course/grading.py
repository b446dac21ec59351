"""A learner's saved notebook graded: each answer alone, in a process of its own, within limits of time and memory.

It guards against accidents, not against malice: the learner's code runs as the user who grades, in an empty folder,
without input, and with variables that look like secrets taken out. Knows nothing about progress.
"""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from ftkit.course import catalogue
from ftkit.course.judging import FAILED, NOT_ATTEMPTED, PASSED, Report, Row
from ftkit.course.submission import Program, program, read_submission
from ftkit.course.trial import READY
from ftkit.errors import refusal
from ftkit.notebooks.kernel import kernel_env
from ftkit.units import GIB

STOPPED = "stopped"
LIMIT_S, MEMORY_GIB = 60.0, 2.0
START_LIMIT_S = 180.0  # for Python and torch to be there, before any code of the learner's
_POLL_S = 0.05
_SHARED_GIB = 0.3  # resident, and not the answer's: what Python and torch bring along
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|API_?KEY", re.IGNORECASE)


@dataclass(frozen=True)
class Graded:
    """One notebook graded: a report for each exercise of its lesson."""

    notebook: str
    stem: str
    reports: tuple[Report, ...]

    @property
    def passed(self) -> int:
        """How many exercises passed."""
        return sum(report.state == PASSED for report in self.reports)


def grade_notebook(path: str | Path, limit_s: float = LIMIT_S, memory_gib: float = MEMORY_GIB) -> Graded:
    """The reports on all answers of a learner's notebook, in the order of the lesson.

    Nothing of it runs in this process, and one answer that hangs, dies or breaks something costs no other.

    Args:
        path: the notebook; its name may be any.
        limit_s: seconds for one answer, its imports and all its cases.
        memory_gib: GiB for the data of one answer's process. Where the system can refuse more, the answer sees an
            error and its other cases go on; everywhere the process is watched and ended.

    Raises:
        Refusal: no such file, no notebook, no lesson of the kit; a limit that is not positive.
    """
    if not limit_s > 0:
        raise refusal("--limit", "more than 0 seconds", limit_s)
    if not memory_gib >= 0.5:
        raise refusal("--memory", "0.5 GiB or more", memory_gib, "Python and torch take a quarter of a GiB.")
    submission, several = read_submission(path), ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)))
    stopping = threading.Event()
    try:
        reports = several.map(lambda exercise: _graded(exercise, program(submission, exercise), limit_s, memory_gib,
                                                       stopping), catalogue.checks_of(submission.stem))
        return Graded(submission.path.name, submission.stem, tuple(reports))
    finally:
        stopping.set()  # after Ctrl-C there are processes to end
        several.shutdown(cancel_futures=True)


def _graded(exercise: str, answer: Program, limit_s: float, memory_gib: float,
            stopping: threading.Event) -> Report:
    title = catalogue.find_check(exercise)[1].title
    if answer.missing:
        return Report(exercise, title, NOT_ATTEMPTED, note=answer.missing)
    if answer.broken:
        return Report(exercise, title, FAILED, note=answer.broken)
    task = {"exercise": exercise, "lines": answer.lines, "memory_gib": memory_gib}
    found, why = _in_process(task, limit_s, memory_gib, stopping)
    if found is None:
        return Report(exercise, title, STOPPED, note=f"Stopped: {why}.")
    rows = tuple(Row(**row) for row in found["report"]["rows"])
    report = Report(**{**found["report"], "rows": rows})
    absent = {**(answer.left_out or {}), **found["stopped"]}
    if report.state in (PASSED, NOT_ATTEMPTED) or not absent:
        return report
    note = "; ".join(f"`{name}`: {words}" for name, words in sorted(absent.items()))
    return Report(exercise, title, report.state, rows, f"Not defined here: {note}.")


def _in_process(task: Mapping, limit_s: float, memory_gib: float,
                stopping: threading.Event) -> tuple[dict | None, str]:
    """What the process wrote, or None and why it was stopped."""
    with tempfile.TemporaryDirectory(prefix="ftkit-check-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen([sys.executable, "-m", "ftkit.course.trial"], cwd=folder, env=_environment(folder),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            with process.stdin:
                process.stdin.write(json.dumps(task).encode())
            return _watched(process, limit_s, memory_gib, stopping)
        finally:
            _end(process)


def _watched(process: subprocess.Popen, limit_s: float, memory_gib: float,
             stopping: threading.Event) -> tuple[dict | None, str]:
    messages = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, messages), daemon=True).start()
    until_s, ready = time.monotonic() + START_LIMIT_S, False
    while time.monotonic() < until_s and not stopping.is_set():
        try:
            message = messages.get(timeout=_POLL_S)
        except queue.Empty:
            if _memory_gib(process) > memory_gib + _SHARED_GIB:
                return None, f"it took more than {memory_gib:g} GiB of memory"
            continue
        if message is None:
            return None, _ending(process)
        if "report" in message:
            return message, ""
        if message.get(READY):
            until_s, ready = time.monotonic() + limit_s, True
    return None, f"it was not done after {limit_s:g} s" if ready else "the process did not start"


def _read(stream, messages: queue.SimpleQueue):
    """Each line as a message; None at the end, and for what is no message."""
    for line in stream:
        try:
            messages.put(dict(json.loads(line)))
        except (ValueError, TypeError):
            break
    messages.put(None)


def _ending(process: subprocess.Popen) -> str:
    try:
        status = process.wait(5)
    except subprocess.TimeoutExpired:
        return "it closed the way its report goes"
    if status < 0:
        return f"the system ended its process ({signal.Signals(-status).name})"
    return f"its code ended the process (exit status {status})"


def _memory_gib(process: subprocess.Popen) -> float:
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        return sum(one.memory_info().rss for one in family) / GIB
    except psutil.Error:  # it has just ended
        return 0.0


def _end(process: subprocess.Popen):
    """End the process with all that it started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass
    process.kill()
    for one in family:
        try:
            one.kill()
        except psutil.Error:
            pass
    process.wait()
    process.stdout.close()


def _environment(folder: str) -> dict[str, str]:
    env = kernel_env({"FTKIT_HOME": folder, "FTKIT_STRICT": "", "PYTHONDONTWRITEBYTECODE": "1"})
    return {name: value for name, value in env.items() if not _SECRET.search(name)}
