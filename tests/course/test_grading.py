"""A learner's notebook graded in processes of its own: right answers, and every accident that can happen in one."""

import json
import linecache
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from ftkit.course import grading, progress
from ftkit.course.grading import STOPPED, grade_notebook
from ftkit.course.judging import FAILED, NOT_ATTEMPTED, PASSED
from ftkit.course.solved import solved_notebook
from ftkit.course.standing import grade_all, notebooks_in
from ftkit.course.trial import tried
from ftkit.errors import Refusal
from ftkit.notebooks.kernel import kernel_env

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
RIGHT = "def gain(before, after):\n    return helper(before, after)"


@pytest.fixture
def submitted(tmp_path):
    """A function that saves lesson 00 with these answers in place of the official ones."""
    def save(answers=None, name="mine.ipynb", *more):
        notebook = solved_notebook(NOTEBOOKS / "00_start_here.ipynb", answers=answers)
        notebook.cells += [nbformat.v4.new_code_cell(source, id=f"more-{n}") for n, source in enumerate(more)]
        nbformat.write(notebook, tmp_path / name)
        return tmp_path / name

    return save


def test_a_right_notebook_under_any_name_passes_and_takes_seconds(submitted):
    started = time.monotonic()
    graded = grade_notebook(submitted(name="homework of week 1.ipynb"))
    assert (graded.stem, graded.passed, [one.state for one in graded.reports]) == ("00_start_here", 3, [PASSED] * 3)
    assert time.monotonic() - started < 60
    assert not list(Path(graded.notebook).parent.glob(".ftkit"))


def test_an_untouched_notebook_is_not_attempted():
    graded = grade_notebook(NOTEBOOKS / "00_start_here.ipynb")
    assert [one.state for one in graded.reports] == [NOT_ATTEMPTED] * 3 and graded.passed == 0


def test_answers_that_hang_flood_or_end_the_process_are_stopped_and_cost_no_other(submitted):
    path = submitted({
        "00.1": "def runners_up(logits, k):\n    while True:\n        try:\n            print('x' * 1000)\n"
                "        except:\n            pass\n",
        "00.2": "import os\ndef conversation_labels(turns, end_of_turn):\n    os._exit(0)\n"})
    reports = grade_notebook(path, limit_s=4).reports
    assert [one.state for one in reports] == [STOPPED, STOPPED, PASSED]
    assert reports[0].note == "Stopped: it was not done after 4 s."
    assert reports[1].note == "Stopped: its code ended the process (exit status 0)."


def test_answers_that_crash_exit_or_take_all_memory_are_told(submitted):
    path = submitted({
        "00.1": "import ctypes\ndef runners_up(logits, k):\n    ctypes.string_at(0)\n",
        "00.2": "import sys\ndef conversation_labels(turns, end_of_turn):\n    sys.exit(3)\n",
        "00.3": "import torch\ndef gain(before, after):\n    return [torch.ones(2 ** 24) for _ in range(1000)]\n"})
    first, second, third = grade_notebook(path, memory_gib=1.0).reports
    assert first.state == STOPPED and first.note.startswith("Stopped: ")
    assert second.state == FAILED and "ends the whole program" in second.rows[0].hint
    assert third.state in (FAILED, STOPPED)
    said = third.note if third.state == STOPPED else third.rows[0].hint
    assert "memory" in said


def test_a_helper_is_found_a_stopped_cell_told_and_a_training_cell_not_run(submitted):
    helper = "import torch\ndef helper(before, after):\n    return missing(before)"
    path = submitted({"00.3": RIGHT, "00.2": "def conversation_labels(turns, end):\n    return rows, rows"},
                     "mine.ipynb", helper, "missing = 1 / 0", "with open(__file__) as rows:\n    raise SystemExit")
    _, second, third = grade_notebook(path).reports
    assert third.state == FAILED and "`missing` is not defined" in third.rows[0].hint
    assert third.note == "Not defined here: `missing`: cell more-1 stopped with ZeroDivisionError: division by zero."
    assert second.note == "Not defined here: `rows`: cell more-2 is not run when a notebook is graded."


def test_a_missing_and_a_broken_stub_are_told_and_cost_no_other(submitted):
    path = submitted({"00.1": "def runners_up(logits, k):\n    return logits\n"})
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("exercise") == "00.1":
            cell.source = cell.source.replace("def runners_up", "def runnersup")
        if cell.metadata.get("exercise") == "00.2":
            cell.source += "\nreturn ((\n"
    nbformat.write(notebook, path)
    first, second, third = grade_notebook(path).reports
    assert (first.state, first.note) == (
        NOT_ATTEMPTED, "No cell defines `runners_up`. There is `runnersup`: was it renamed?")
    assert second.state == FAILED and second.note.startswith("Its cell can't be read: ")
    assert third.state == PASSED


def test_what_an_answer_starts_ends_with_it(submitted, tmp_path):
    marker = f"ftkit-left-behind-{os.getpid()}"
    path = submitted({"00.1": "import subprocess, sys\ndef runners_up(logits, k):\n"
                              "    subprocess.Popen([sys.executable,"
                              f" '-c', 'import time; time.sleep(600)', '{marker}'])\n    return 0\n"})
    assert grade_notebook(path).reports[0].state == FAILED
    time.sleep(0.3)
    assert not [one for one in psutil.process_iter(["cmdline"]) if marker in (one.info["cmdline"] or [])]


def test_secrets_are_not_given_to_a_learners_code(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "x")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("FTKIT_STRICT", "1")
    env = grading._environment("here")
    assert "HF_TOKEN" not in env and "OPENAI_API_KEY" not in env
    assert env["FTKIT_HOME"] == "here" and env["FTKIT_STRICT"] == "" and "PATH" in env


@pytest.mark.parametrize(("limits", "words"), [
    ({"limit_s": 0}, "--limit must be more than 0 seconds, got 0"),
    ({"limit_s": float("nan")}, "--limit must be more than 0 seconds, got nan"),
    ({"memory_gib": 0.2}, "--memory must be 0.5 GiB or more, got 0.2. Python and torch take a quarter of a GiB."),
])
def test_limits_that_are_none_are_refused(submitted, limits, words):
    with pytest.raises(Refusal, match=words):
        grade_notebook(submitted(), **limits)


def started(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            start_new_session=True)


@pytest.mark.parametrize(("code", "words"), [
    ("import time; time.sleep(60)", "the process did not start"),
    ("print('{', flush=True)", "its code ended the process"),
    ("print('[3]', flush=True)", "its code ended the process"),
    ("import os; os.close(1); import time; time.sleep(60)", "it closed the way its report goes"),
    ("print('{\"ready\": true}', flush=True); x = bytearray(1000 * 2 ** 20); x[::4096] = b'x' * len(x[::4096]);"
     "import time; time.sleep(60)", "it took more than 0.5 GiB of memory"),
])
def test_a_process_that_says_nothing_of_use_is_ended_in_time(monkeypatch, code, words):
    monkeypatch.setattr(grading, "START_LIMIT_S", 2.0)
    process = started(code)
    found, why = grading._watched(process, 10.0, 0.5, threading.Event())
    grading._end(process)
    assert found is None and why.startswith(words) and process.returncode is not None
    grading._end(process)  # a second time does no harm


@pytest.mark.skipif(os.name == "nt", reason="a process there cannot send itself this signal")
def test_ctrl_c_ends_what_runs_at_once(submitted):
    path = submitted({"00.1": "def runners_up(logits, k):\n    while True:\n        try:\n            sum([])\n"
                              "        except:\n            pass\n"})
    ended = threading.Event()

    def press():  # again and again, as a person would: Python drops one that comes while it collects garbage
        while not ended.wait(3.0):
            os.kill(os.getpid(), signal.SIGINT)

    fingers = threading.Thread(target=press)
    fingers.start()
    before = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            grade_notebook(path, limit_s=100)
    finally:
        ended.set()
        fingers.join()
    assert time.monotonic() - before < 30


# ---- the trial itself, in this process

def test_a_class_with_its_helper_is_tried(models_lesson):
    lines = [("a", "import torch"), ("b", "def filled(n):\n    return torch.full((n,), 2.0)"),
             ("c", "class Double(torch.nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
                   "        self.weight = torch.nn.Parameter(filled(width))\n"
                   "    def forward(self, x):\n        return x * self.weight")]
    assert tried("97.1", lines)[0].state == PASSED
    wrong = [lines[0], ("b", "def filled(n):\n    return torch.ones(n)"), lines[2]]
    report, _ = tried("97.1", wrong)
    assert report.state == FAILED and report.rows[0].hint == "Once is not twice."


def test_a_statement_that_stops_is_told_by_the_names_it_would_define_until_another_does(lesson):
    report, stopped = tried("98.1", [("a", "x = y = 1 / 0"), ("b", "y = 2"), ("c", "import no_such_package"),
                                     ("d", "raise SystemExit"), ("e", "def area(w, h):\n    return w * h")])
    assert [row.passed for row in report.rows] == [True] * 3
    assert stopped == {"x": "cell a stopped with ZeroDivisionError: division by zero", "no_such_package":
                       "cell c stopped with ModuleNotFoundError: No module named 'no_such_package'"}


def test_an_answer_whose_own_statement_stops_is_told(lesson):
    report, _ = tried("98.2", [("a", "share = 1 / 0")])
    assert report.note == "`share` is not there: cell a stopped with ZeroDivisionError: division by zero."
    assert report.state == NOT_ATTEMPTED
    assert tried("98.2", [])[0].note == "`share` is not there: nothing defines it."


def test_the_source_of_an_answer_can_be_read_by_a_check(lesson):
    tried("98.1", [("a", "def area(w, h):\n    return w * h")])
    assert "".join(linecache.getlines("<cell a, statement 0>")) == "def area(w, h):\n    return w * h"


def test_memory_is_refused_by_the_system_where_it_can():
    code = "from ftkit.course.trial import limit_memory\nprint(limit_memory(1.0))\nx = bytearray(2 ** 31)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kernel_env({}))
    assert done.stdout in ("True\n", "False\n")
    if sys.platform == "linux":
        assert "MemoryError" in done.stderr


# ---- several notebooks, data, progress

def test_several_notebooks_are_graded_with_an_overview_and_as_data_and_progress_stays(submitted, tmp_path, capsys,
                                                                                     monkeypatch):
    monkeypatch.setenv("FTKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "class"
    for name in ("anna", "bo", "checkpoints"):
        (folder / name).mkdir(parents=True)
    submitted().rename(folder / "anna" / "a.ipynb")
    submitted({"00.1": "runners_up = 3"}).rename(folder / "bo" / "b.ipynb")
    (folder / "bo" / "torn.ipynb").write_text("{")
    (folder / "backups").mkdir()
    (folder / "backups" / "c.ipynb").write_text("{")
    paths = notebooks_in([str(folder)])
    assert [path.name for path in paths] == ["a.ipynb", "b.ipynb", "torn.ipynb"]
    assert grade_all(paths, 60, 2.0, json_file=str(tmp_path / "all.json")) == 2
    out, err = capsys.readouterr()
    assert "3 of 3 exercises of 00_start_here" in out and "torn.ipynb must be a Jupyter notebook" in err
    assert [line.split()[-4:] for line in out.splitlines()[-2:-1]] == [[str(paths[1]), "00_start_here", "2", "3"]]
    assert out.splitlines()[-1].endswith("refused")
    data = json.loads((tmp_path / "all.json").read_text("utf-8"))
    assert [one.get("passed") for one in data] == [3, 2, None] and "damaged" in data[2]["refused"]
    assert data[1]["exercises"][0]["rows"][0]["hint"].startswith("`runners_up` is 3 and no function")
    assert progress.progress() == {} and not (tmp_path / "home").exists()
    assert grade_all(paths[1:2], 60, 2.0, record_in=tmp_path / "home") == 1
    assert progress.score("00_start_here").passed == 2 and progress.attempts("00_start_here", "00.1") == 1
