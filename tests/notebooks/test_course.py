"""Every lesson, first in an empty folder: as shipped from top to bottom, and solved over its checked cells.

Known wrong answers are tried in tests/course.
"""

import json
import re
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from ftkit.course.catalogue import checks_of
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, exercise_cells, solved_notebook
from ftkit.notebooks.course import TINY_LIMIT_S, lessons_in
from ftkit.notebooks.html import to_html
from ftkit.notebooks.run import run_notebook

ROOT = Path(__file__).parents[2]
LESSONS = lessons_in(ROOT / "notebooks")
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
_PICTURE = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")


def test_each_lesson_has_a_number_of_its_own():
    numbers = [path.stem[:2] for path in LESSONS]
    assert len(numbers) >= 2 and numbers == sorted(set(numbers)) and numbers[0] == "00"


def test_the_page_of_lessons_links_those_that_exist_and_plans_no_other_number_twice():
    page = (ROOT / "lessons" / "README.md").read_text("utf-8")
    linked = re.findall(r"^\| \[(\d\d_\w+)\]\(\1\.md\)", page, re.M)
    planned = re.findall(r"^\| (\d\d_\w+) \|", page, re.M)
    assert linked == [path.stem for path in LESSONS]
    assert sorted(stem[:2] for stem in linked + planned) == [f"{number:02}" for number in range(19)]


@each_lesson
def test_a_lesson_runs_as_shipped_in_an_empty_folder_and_no_exercise_is_answered(path, as_shipped):
    shipped = as_shipped(path)
    assert shipped.result.status == "ok", f"{shipped.result.cell}: {shipped.result.error}"
    assert shipped.result.score == f"0 of {len(checks_of(path.stem))}"
    shown = shipped.executed.read_text("utf-8")
    assert shown.count("not attempted yet") >= len(checks_of(path.stem))


@each_lesson
def test_a_solved_lesson_passes_every_check_and_agrees_with_the_package(path, tmp_path, monkeypatch):
    solved = tmp_path / path.name
    nbformat.write(solved_notebook(path, only=NEEDED_TAGS), solved)
    monkeypatch.setenv("FTKIT_STRICT", "1")
    folder = tmp_path / "empty"
    result = run_notebook(solved, tmp_path / "build" / path.name, {"scale": "tiny", "out_dir": "."}, cwd=folder,
                          limit_s=TINY_LIMIT_S)
    assert result.status == "ok", f"{result.cell}: {result.error}"
    reached = score(path.stem, folder / ".ftkit")
    assert reached.passed == reached.total == len(exercise_cells(nbformat.read(path, as_version=4)))


@each_lesson
def test_an_executed_lesson_holds_no_trace_of_the_machine_or_its_user(path, as_shipped):
    shipped = as_shipped(path)
    page = shipped.executed.with_suffix(".html").read_text("utf-8").partition("<body")[2]
    assert len(page) > 1000
    for text in (without_pictures(json.loads(shipped.executed.read_text("utf-8"))), _PICTURE.sub("", page)):
        assert traces(text, shipped.folder, shipped.token) == []


def test_a_trace_would_be_found(tmp_path):
    """The search itself, on a page that was not scrubbed."""
    token = "hf_" + "Planted1" * 4
    planted = {str(Path.home()), str(tmp_path), str(ROOT), sys.prefix, token, *host_names()}
    text = "".join(f"see {trace}/notes there\n" for trace in sorted(planted))
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text=text)])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert planted <= set(traces(without_pictures(notebook), tmp_path, token))
    assert planted <= set(traces(to_html(notebook, "planted").partition("<body")[2], tmp_path, token))
    assert traces("a page about nothing", tmp_path, token) == []


def traces(text: str, folder: Path, token: str) -> list[str]:
    """What stands in the text of this machine: host names, folders of the user, of this run and of Python, a token."""
    folders = {str(place) for place in (Path.home(), folder, ROOT, sys.prefix, sys.base_prefix, tempfile.gettempdir())}
    spelled = folders | {place.replace("\\", "\\\\") for place in folders}
    found = [place for place in spelled if re.search(rf"(?<![\w.]){re.escape(place)}[\\/]", text)]
    found += [name for name in host_names() if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    return found + [token] * (token in text)


def host_names() -> list[str]:
    """This machine's name, in full and short, unless it is a word that a lesson may use."""
    full = socket.gethostname()
    return [name for name in {full, full.partition(".")[0]} if len(name) > 3 and name != "localhost"]


def without_pictures(notebook: dict) -> str:
    """An executed notebook as text, without pictures, in whose letters a short name can occur by chance."""
    copy = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        for output in cell.get("outputs", []):
            output["data"] = {kind: value for kind, value in output.get("data", {}).items()
                              if not kind.startswith("image/") or kind == "image/svg+xml"}
    return _PICTURE.sub("", json.dumps(copy, ensure_ascii=False))
