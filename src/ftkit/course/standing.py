"""What `ftkit check` says: how far a learner is, and what saved notebooks are worth. Knows nothing about the parser."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ftkit.course import catalogue, progress
from ftkit.course.grading import Graded, grade_notebook
from ftkit.course.judging import NOT_ATTEMPTED, PASSED
from ftkit.errors import Refusal, refusal
from ftkit.files import write_json
from ftkit.tables import aligned

_NOT_A_LEARNERS = {".ipynb_checkpoints", "backups", "build"}


def lessons_table(folder: Path | None = None) -> str:
    """A row for each lesson: how many exercises are answered, how often was tried, when last.

    Args:
        folder: where the progress file stands; `progress.home()` by default.
    """
    rows = []
    for stem in catalogue.lessons():
        reached, entries = progress.score(stem, folder), progress.progress(folder).get(stem, {}).values()
        last = max((entry.get("last", "") for entry in entries), default="")
        rows.append([stem, reached.passed, reached.total, sum(entry.get("attempts", 0) for entry in entries),
                     progress.when(last)])
    return aligned(["lesson", "answered", "of", "attempts", "last"], rows)


def exercises_table(stems: Iterable[str], folder: Path | None = None) -> str:
    """A row for each exercise of the lessons: its state, how often it was tried, when first, last, and first passed.

    Args:
        stems: the lessons.
        folder: where the progress file stands; `progress.home()` by default.
    """
    recorded, rows = progress.progress(folder), []
    for stem in stems:
        for exercise, known in catalogue.checks_of(stem).items():
            entry = recorded.get(stem, {}).get(exercise, {})
            times = [progress.when(entry.get(name)) for name in ("first", "last", "first_passed")]
            rows.append([exercise, known.title, progress.state(entry), entry.get("attempts", 0), *times])
    return aligned(["exercise", "title", "state", "attempts", "first", "last", "first passed"], rows)


def are_notebooks(words: Sequence[str]) -> bool:
    """Whether the words name notebooks and folders of them, rather than lessons.

    Raises:
        Refusal: some do and some do not.
    """
    kinds = {word.endswith(".ipynb") or Path(word).is_dir() and word not in catalogue.lessons() for word in words}
    if len(kinds) > 1:
        raise refusal("what to check", "lessons, or notebooks and folders", " ".join(words), "Ask for one of the two.")
    return kinds == {True}


def notebooks_in(words: Iterable[str]) -> list[Path]:
    """The notebooks named, and those in the folders named and in theirs; no checkpoints and no backups.

    Raises:
        Refusal: a folder without notebooks.
    """
    found = []
    for place in map(Path, words):
        inside = [place]
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*.ipynb")
                            if not _NOT_A_LEARNERS & set(path.relative_to(place).parts))
        if not inside:
            raise refusal("folder", "one with notebooks", str(place), "It holds no .ipynb file.")
        found += inside
    return list(dict.fromkeys(found))


def grade_all(paths: Sequence[Path], limit_s: float, memory_gib: float, *, json_file: str | None = None,
              record_in: Path | None = None) -> int:
    """Print what each notebook is worth; 0 when all exercises of all passed, 1 when not, 2 when one was refused.

    Args:
        paths: the notebooks.
        limit_s: seconds for one answer.
        memory_gib: GiB for one answer.
        json_file: a file for the same as data; written anew after each notebook.
        record_in: a folder of progress to note the attempts in; None leaves progress alone.
    """
    results, statuses = [], set()
    for path in paths:
        try:
            graded = grade_notebook(path, limit_s, memory_gib)
        except Refusal as error:
            print(f"ftkit: {error}", file=sys.stderr)
            results.append({"notebook": str(path), "refused": str(error)})
            statuses.add(2)
        else:
            print("\n\n".join(map(repr, graded.reports)))
            print(f"\n{path}: {graded.passed} of {len(graded.reports)} exercises of {graded.stem}\n", flush=True)
            results.append(_as_data(path, graded))
            statuses.add(0 if graded.passed == len(graded.reports) else 1)
            _record(graded, record_in)
        if json_file:
            write_json(json_file, results)
    if len(paths) > 1:
        print(_overview(results))
    return max(statuses, default=0)


def _as_data(path: Path, graded: Graded) -> dict:
    return {"notebook": str(path), "lesson": graded.stem, "passed": graded.passed, "total": len(graded.reports),
            "exercises": [asdict(report) for report in graded.reports]}


def _overview(results: Sequence[dict]) -> str:
    rows = [[one["notebook"], one.get("lesson"), one.get("passed"), one.get("total"),
             "refused" if "refused" in one else ""] for one in results]
    return aligned(["notebook", "lesson", "passed", "of", ""], rows)


def _record(graded: Graded, folder: Path | None):
    if folder is not None:
        for report in graded.reports:
            if report.state != NOT_ATTEMPTED:
                progress.record(graded.stem, report.exercise, report.state == PASSED, folder)
