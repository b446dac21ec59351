"""A learner's own folder of lessons: filled, kept up to date, reset. Knows nothing about JupyterLab or the lessons.

A copy counts as untouched while its cells are what was copied; having been run does not touch it. A newer version
replaces an untouched copy and is laid beside a touched one, so no answer is ever lost.
"""

import json
import shutil
from datetime import datetime
from pathlib import Path

import ftkit
from ftkit.course import progress
from ftkit.errors import Refusal, refusal, unknown
from ftkit.files import read_json, sha256, write_json
from ftkit.notebooks.course import find_lesson, lessons_in

DEFAULT_FOLDER = "ftkit-lessons"
_STATE = Path(".ftkit", "workspace.json")
_BACKUPS = "backups"


def fill(folder: str | Path, shipped: str | Path) -> list[str]:
    """What was done, one sentence a lesson that changed: copied, replaced by a newer one, or laid beside an answer.

    Args:
        folder: the learner's folder; made if it isn't there.
        shipped: the folder with the lessons as they shipped; never written to.

    Raises:
        Refusal: the folder is the one with the shipped lessons, or lies in a checkout of the kit.
    """
    folder, shipped = Path(folder), Path(shipped)
    if not lessons_in(shipped):
        raise refusal("shipped", "a folder with lessons (NN_stem.ipynb)", shipped.name)
    _refuse_repository(folder, shipped)
    folder.mkdir(parents=True, exist_ok=True)
    state = _state(folder)
    said = [sentence for lesson in lessons_in(shipped) if (sentence := _update(folder, lesson, state))]
    _write_state(folder, state)
    return said


def reset(folder: str | Path, name: str, shipped: str | Path) -> str:
    """A sentence on one lesson put back to its shipped form; the learner's copy is kept under `backups`.

    Its answers are taken out of the progress file of the workspace.

    Args:
        folder: the learner's folder.
        name: the lesson's stem or number.
        shipped: the folder with the lessons as they shipped.

    Raises:
        Refusal: no such folder or lesson.
    """
    folder = Path(folder)
    if not (folder / _STATE).is_file():
        raise refusal("folder", "a workspace made by ftkit lab", folder.name, "Open it once with ftkit lab --folder.")
    lesson = find_lesson(name, shipped)
    if lesson.stem not in {path.stem for path in lessons_in(shipped)}:
        raise unknown("lesson", lesson.stem, [path.stem for path in lessons_in(shipped)])
    state, own = _state(folder), folder / lesson.name
    kept = f"; your copy is kept as {_back_up(own, folder)}" if own.is_file() else ""
    _copy(lesson, own, state)
    _write_state(folder, state)
    progress.forget(lesson.stem, folder / ".ftkit")
    return f"{lesson.stem} is as it shipped{kept}"


def answers_hash(path: str | Path) -> str:
    """A hash of what a learner writes in a notebook: its cells' kinds and sources, without outputs and counts.

    A file that is no notebook is hashed byte for byte.
    """
    raw = Path(path).read_bytes()
    try:
        cells = [[cell["cell_type"], "".join(cell["source"])] for cell in json.loads(raw)["cells"]]
    except (ValueError, KeyError, TypeError):
        return sha256(raw)
    return sha256(json.dumps(cells, ensure_ascii=False).encode())


def _update(folder: Path, lesson: Path, state: dict) -> str:
    own, shipped_hash = folder / lesson.name, answers_hash(lesson)
    if not own.is_file():
        _copy(lesson, own, state)
        return f"{lesson.stem}: copied"
    own_hash = answers_hash(own)
    if own_hash == shipped_hash:
        state["copied"][lesson.name] = shipped_hash
        return ""
    if own_hash == state["copied"].get(lesson.name):
        kept = _back_up(own, folder)
        _copy(lesson, own, state)
        return f"{lesson.stem}: replaced by the newer version; yours was unchanged and is kept as {kept}"
    if state["copied"].get(lesson.name) == shipped_hash or state["beside"].get(lesson.name) == shipped_hash:
        return ""
    beside = folder / f"{lesson.stem}.new.ipynb"
    if beside.is_file():
        _back_up(beside, folder)
    shutil.copyfile(lesson, beside)
    state["beside"][lesson.name] = shipped_hash
    return f"{lesson.stem}: you have written in yours, so the newer version lies beside it as {beside.name}"


def _copy(lesson: Path, own: Path, state: dict):
    shutil.copyfile(lesson, own)
    state["copied"][lesson.name] = answers_hash(lesson)
    state["beside"].pop(lesson.name, None)


def _back_up(own: Path, folder: Path) -> str:
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    number, kept = 1, folder / _BACKUPS / f"{own.stem}.{stamp}.ipynb"
    while kept.exists():
        number += 1
        kept = folder / _BACKUPS / f"{own.stem}.{stamp}-{number}.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    own.replace(kept)
    return kept.relative_to(folder).as_posix()


def _state(folder: Path) -> dict:
    """The hashes of what was copied; without them every lesson counts as touched, which loses nothing."""
    try:
        state = read_json(folder / _STATE)
        return {"copied": dict(state["copied"]), "beside": dict(state["beside"])}
    except (Refusal, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return {"copied": {}, "beside": {}}


def _write_state(folder: Path, state: dict):
    write_json(folder / _STATE, {"kit": ftkit.__version__, **state})


def _refuse_repository(folder: Path, shipped: Path):
    checkout = shipped.resolve().parent
    inside = folder.resolve() == shipped.resolve() or shipped.resolve() in folder.resolve().parents
    if inside or (folder.resolve() == checkout and (checkout / "pyproject.toml").is_file()):
        raise refusal("--folder", "a folder of your own", folder.name, "The shipped lessons are never written to.")
