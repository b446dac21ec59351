"""What a learner has answered so far, in one small file of the learner's own. Knows nothing about how it is judged.

The file stands in the folder that FTKIT_HOME names; else in the `.ftkit` folder of the workspace one works in; else
in `.ftkit` under the home folder. The runner gives each notebook a folder of its own, so no run touches it. Several
kernels may write at once. A file that can't be read is set aside, and where nothing can be written a notebook goes on.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftkit.course.catalogue import checks_of
from ftkit.course.judging import NOT_ATTEMPTED, PASSED
from ftkit.course.table import Table
from ftkit.errors import Refusal, refusal
from ftkit.files import read_json, write_json
from ftkit.locks import Lock

SCHEMA = 1
SCORE_KIND = "application/vnd.ftkit.score+json"
FILE = "progress.json"
NOT_PASSED = "not passed yet"
LOCK_WAIT_S = 10.0
_KINDS = {"passed": bool, "attempts": int, "first": str, "last": str, "first_passed": str}
_one_thread = threading.Lock()
_told: set[str] = set()


@dataclass(frozen=True)
class Score:
    """Exercises passed, of how many; shown with one row for each, and to the notebook runner as data."""

    stem: str
    passed: int
    total: int
    rows: tuple[tuple[str, str, str, str], ...] = ()  # exercise, title, state, when

    def __repr__(self):
        head = f"{self.stem}: {self.passed} of {self.total} exercises"
        return f"{head}\n{self._table()!r}" if self.rows else head

    def _repr_mimebundle_(self, include=None, exclude=None):
        head = f"<p><b>{self.stem}</b>: {self.passed} of {self.total} exercises</p>"
        return {"text/plain": repr(self), "text/html": head + (self._table()._repr_html_() if self.rows else ""),
                SCORE_KIND: {"passed": self.passed, "total": self.total}}

    def _table(self) -> Table:
        return Table(["exercise", "title", "state", "when"], self.rows)


def home() -> Path:
    """The folder of the progress file."""
    if named := os.environ.get("FTKIT_HOME"):
        return Path(named)
    here = Path.cwd()
    near = [folder / ".ftkit" for folder in [here, *here.parents] if (folder / ".ftkit").is_dir()]
    return near[0] if near else Path.home() / ".ftkit"


def progress(folder: Path | None = None) -> dict:
    """All that is recorded: lesson stem to exercise id to {passed, attempts, first, last, first_passed}.

    Times are ISO, in UTC: of the first and the last attempt, and of the first that passed. A broken file is set aside.

    Args:
        folder: where the file stands; `home()` by default.

    Raises:
        Refusal: the file was written by a newer version of the kit.
    """
    path = (folder or home()) / FILE
    if not path.exists():
        return {}
    try:
        content = read_json(path)
        schema, recorded = content["schema"], content["lessons"]
        if schema == SCHEMA and not _is_record(recorded):
            raise TypeError("lessons")
    except (Refusal, UnicodeDecodeError, KeyError, TypeError):
        _set_aside(path)
        return {}
    except OSError as error:
        _tell(path, f"can't be read ({_reason(error)}); what was answered before isn't shown")
        return {}
    if schema != SCHEMA:
        raise refusal(FILE, f"of schema {SCHEMA}", schema, "A newer ftkit wrote it: pip install --upgrade ftkit.")
    return recorded


def record(stem: str, exercise: str, passed: bool, folder: Path | None = None) -> None:
    """Note one attempt at an exercise; what counts is the latest.

    Where nothing can be written, one sentence says so and the attempt is not kept.
    """
    def note(recorded: dict):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = recorded.setdefault(stem, {}).setdefault(exercise, {"attempts": 0, "first": now})
        entry.update(passed=passed, attempts=entry.get("attempts", 0) + 1, last=now)
        if passed:
            entry.setdefault("first_passed", now)

    _update(note, folder)


def attempts(stem: str, exercise: str) -> int:
    """How often the exercise was attempted."""
    return progress().get(stem, {}).get(exercise, {}).get("attempts", 0)


def forget(stem: str, folder: Path | None = None) -> None:
    """Take a lesson's answers out of the record, as for a lesson that starts afresh."""
    if stem in progress(folder):
        _update(lambda recorded: recorded.pop(stem, None), folder)


def score(stem: str, folder: Path | None = None) -> Score:
    """The score of one lesson: the last line of its notebook.

    Args:
        stem: the lesson, as in "00_start_here".
        folder: where the progress file stands; `home()` by default.

    Raises:
        Refusal: no such lesson.
    """
    known, recorded = checks_of(stem), progress(folder).get(stem, {})
    entries = {exercise: recorded.get(exercise, {}) for exercise in known}
    rows = tuple((exercise, known[exercise].title, state(entry),
                  when(entry.get("first_passed") if entry.get("passed") else entry.get("last")))
                 for exercise, entry in entries.items())
    return Score(stem, sum(bool(entry.get("passed")) for entry in entries.values()), len(known), rows)


def state(entry: Mapping) -> str:
    """What is said of an exercise by its record, which may be empty."""
    return PASSED if entry.get("passed") else NOT_PASSED if entry.get("attempts") else NOT_ATTEMPTED


def when(moment: str | None) -> str:
    """A recorded time as the learner's clock showed it, to the minute; nothing where there is none.

    Example:
        >>> when(None), len(when("2026-11-21T10:00:00+00:00"))
        ('', 16)
    """
    try:
        return datetime.fromisoformat(moment or "").astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def _is_record(recorded: object) -> bool:
    return isinstance(recorded, dict) and all(
        isinstance(entries, dict) and all(_is_entry(entry) for entry in entries.values())
        for entries in recorded.values())


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and all(type(entry[name]) is kind for name, kind in _KINDS.items() if name in entry)


def _update(change: Callable[[dict], object], folder: Path | None):
    folder = folder or home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_thread, _alone(folder):
            recorded = progress(folder)
            change(recorded)
            write_json(folder / FILE, {"schema": SCHEMA, "lessons": recorded})
    except OSError as error:
        _tell(folder / FILE, f"can't be written ({_reason(error)}); attempts aren't kept, all else works")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process writes to the folder; where the system has no locks, at once."""
    until_s = time.monotonic() + LOCK_WAIT_S
    lock = None
    while lock is None:
        try:
            lock = Lock(folder)
        except Refusal as error:
            if time.monotonic() > until_s:
                raise TimeoutError("another process keeps it locked") from error
            time.sleep(0.02)
        except OSError:
            break
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _set_aside(path: Path):
    aside = _free_name(path.with_name(FILE + ".broken"))
    try:
        path.replace(aside)
    except OSError as error:
        _tell(path, f"is broken and can't be set aside ({_reason(error)})")
    else:
        print(f"{FILE} could not be read; it was set aside as {aside.name} and a new one begun.")


def _tell(path: Path, words: str):
    """Once for each file: a notebook has many checks."""
    if str(path) not in _told:
        _told.add(str(path))
        print(f"{path.name} {words}.")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
