"""What `start` sees in the cells that ran, and what it refuses. A true kernel is tried in test_notebooks_run."""

import warnings

import pytest

from ftkit.course.start import start
from ftkit.errors import Refusal

SETUP = "import math"
CELL = ('scale: str = "tiny"\nseed: int = 0\nout_dir: str = "runs"\nlearning_rate: float = 2e-3\nmodel: str = ""\n'
        "steps: int = 5")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


def ran(*cells):
    """The globals of a notebook whose cells ran in this order, with IPython's record of them."""
    namespace = {"In": [""]}
    for source in cells:
        namespace["In"].append(source)
        exec(source, namespace)
    return namespace


def test_without_papermill_the_defaults_are_the_parameters(capsys, tmp_path):
    lesson = start("00_start_here", ran(SETUP, CELL))
    assert (lesson.scale, lesson.seed, lesson.parameters["learning_rate"]) == ("tiny", 0, 2e-3)
    assert lesson.folder("lora").resolve() == tmp_path / "runs" / "lora" and (tmp_path / "runs").is_dir()
    assert capsys.readouterr().out == "00_start_here: scale tiny, seed 0, files go to runs\n"


def test_injected_values_are_the_parameters(capsys, tmp_path):
    cell = f'# Parameters\nscale = "small"\nlearning_rate = 1\nmodel = "/models/mine"\nout_dir = "{tmp_path / "o"}"\n'
    lesson = start("00_start_here", ran(SETUP, CELL, cell))
    assert (lesson.scale, lesson.parameters["learning_rate"], lesson.parameters["steps"]) == ("small", 1.0, 5)
    assert capsys.readouterr().out == "00_start_here: scale small, seed 0, model mine, files go to o\n"


def test_cells_may_be_run_again_in_a_lab_session():
    injected = "# Parameters\nseed = 3\n"
    assert start("00_start_here", ran(SETUP, CELL, injected, SETUP, CELL, injected)).seed == 3
    assert start("00_start_here", ran(SETUP, CELL, "x = 1", CELL.replace("seed: int = 0", "seed: int = 7"))).seed == 7


def test_cells_run_by_other_means_than_a_kernel_have_their_declared_types_checked():
    namespace = {}
    exec(CELL, namespace)
    assert start("00_start_here", namespace).parameters["steps"] == 5
    namespace["steps"] = "5"
    with pytest.raises(Refusal, match="steps must be a whole number"):
        start("00_start_here", namespace)


@pytest.mark.parametrize(("cells", "words"), [
    ([CELL, "# Parameters\nlerning_rate = 1.0\n"], "must be one of .*'lerning_rate'. Did you mean learning_rate"),
    ([CELL, "# Parameters\nrank = 1\n"], "parameter of this notebook must be one of scale.*got 'rank'"),
    ([CELL, '# Parameters\nsteps = "abc"\n'], r"steps must be a whole number \(int\), got 'abc'. Its default is 5."),
    ([CELL, "# Parameters\nsteps = 1.5\n"], "steps must be a whole number .* got 1.5"),
    ([CELL, "# Parameters\nmodel = 7\n"], "model must be text .* got 7. .*With plain papermill use -r"),
    ([CELL, "# Parameters\nlearning_rate = float('nan')\n"], "learning_rate must be a finite number"),
    ([CELL, '# Parameters\nscale = "tny"\n'], "scale must be one of tiny, small, full, got 'tny'"),
    (["# Parameters\nsteps = 7\n", SETUP, CELL], "the parameters cell must be tagged 'parameters', got 'no such tag'"),
    ([CELL, "# Parameters\nsteps = 7\n", CELL], "declared before papermill's values, got 'declared after them, too'"),
    ([CELL, "# Parameters\nsteps = 7\n", "steps = 8"], "steps must be 7 as papermill set it, got 8. A cell in between"),
    ([CELL + "\ndouble: int = 2 * 5"], "double must be a literal, got '2 [*] 5'. A derived value goes stale"),
    ([CELL + "\nrank: int | None = 8"], "type of rank"),
    ([CELL + '\npath: str = "a#b"'], "without # inside the text"),
    ([CELL + '\nquery: str = "a=b"'], "a line with one ="),
    ([CELL, "steps = 'many'"], "steps must be a whole number"),
])
def test_what_papermill_only_warns_about_or_misreads_is_refused(cells, words):
    with pytest.raises(Refusal, match=words):
        start("00_start_here", ran(*cells))


@pytest.mark.parametrize(("stem", "cells", "words"), [
    ("start_here", [CELL], "stem must be a lesson's name such as 00_start_here, got 'start_here'"),
    ("00_start_here", [SETUP], "parameters must be declared before start.*got 'no scale, seed, out_dir'. Run the"),
    ("00_start_here", ['scale = "tiny"'], "got 'no seed, out_dir'"),
])
def test_a_wrong_stem_or_a_missing_parameters_cell_is_refused(stem, cells, words):
    with pytest.raises(Refusal, match=words):
        start(stem, ran(*cells))


def test_a_warning_in_a_lesson_names_no_file(capsys):
    start("00_start_here", ran(SETUP, CELL))
    assert warnings.formatwarning("old name", UserWarning, "/home/ana/x.py", 3) == "UserWarning: old name\n"


def test_a_cell_that_does_not_parse_is_passed_over():
    namespace = ran(CELL)
    namespace["In"].insert(1, "!ls (")
    assert start("00_start_here", namespace).seed == 0
