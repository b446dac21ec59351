"""What a learner has answered so far, in one small file of the learner's own. Knows nothing about how it is judged.

The file stands in the folder that FTKIT_HOME names; else in the `.ftkit` folder of the workspace one works in; else
in `.ftkit` under the home folder. The runner gives each notebook a folder of its own, so no run touches it.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftkit.course.catalogue import checks_of
from ftkit.errors import Refusal, refusal
from ftkit.files import read_json, write_json

SCHEMA = 1
SCORE_KIND = "application/vnd.ftkit.score+json"
FILE = "progress.json"


@dataclass(frozen=True)
class Score:
    """Exercises passed, of how many; shown as text, and to the notebook runner as data."""

    stem: str
    passed: int
    total: int

    def __repr__(self):
        return f"{self.stem}: {self.passed} of {self.total} exercises"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": repr(self), SCORE_KIND: {"passed": self.passed, "total": self.total}}


def home() -> Path:
    """The folder of the progress file."""
    if named := os.environ.get("FTKIT_HOME"):
        return Path(named)
    here = Path.cwd()
    near = [folder / ".ftkit" for folder in [here, *here.parents] if (folder / ".ftkit").is_dir()]
    return near[0] if near else Path.home() / ".ftkit"


def progress(folder: Path | None = None) -> dict:
    """All that is recorded: lesson stem to exercise id to {passed, attempts, last}. A broken file is set aside.

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
        if not isinstance(recorded, dict) or not all(isinstance(entry, dict) for entry in recorded.values()):
            raise TypeError("lessons")
    except (Refusal, UnicodeDecodeError, KeyError, TypeError):
        path.replace(_free_name(path.with_name(FILE + ".broken")))
        print(f"{FILE} could not be read; it was set aside as {FILE}.broken and a new one begun.")
        return {}
    if schema != SCHEMA:
        raise refusal(FILE, f"of schema {SCHEMA}", schema, "A newer ftkit wrote it: pip install --upgrade ftkit.")
    return recorded


def record(stem: str, exercise: str, passed: bool) -> None:
    """Note one attempt at an exercise; what counts is the latest."""
    recorded = progress()
    entry = recorded.setdefault(stem, {}).setdefault(exercise, {"attempts": 0})
    entry.update(passed=passed, attempts=entry["attempts"] + 1, last=datetime.now(UTC).isoformat(timespec="seconds"))
    _write(recorded)


def attempts(stem: str, exercise: str) -> int:
    """How often the exercise was attempted."""
    return progress().get(stem, {}).get(exercise, {}).get("attempts", 0)


def forget(stem: str, folder: Path | None = None) -> None:
    """Take a lesson's answers out of the record, as for a lesson that starts afresh."""
    recorded = progress(folder)
    if recorded.pop(stem, None) is not None:
        _write(recorded, folder)


def score(stem: str, folder: Path | None = None) -> Score:
    """The score of one lesson: the last line of its notebook.

    Args:
        stem: the lesson, as in "00_start_here".
        folder: where the progress file stands; `home()` by default.

    Raises:
        Refusal: no such lesson.
    """
    known, recorded = checks_of(stem), progress(folder).get(stem, {})
    return Score(stem, sum(bool(recorded.get(exercise, {}).get("passed")) for exercise in known), len(known))


def _write(recorded: dict, folder: Path | None = None):
    write_json((folder or home()) / FILE, {"schema": SCHEMA, "lessons": recorded})


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
