"""Notebooks with their exercises answered."""

import nbformat
import pytest

from ftkit.course.catalogue import find_check
from ftkit.course.judging import grade
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook
from ftkit.errors import Refusal

STUB = "# Fill in the body.\ndef area(width, height):\n    raise NotImplementedError\n\nprint('defined')"


def notebook(path, stub=STUB, metadata=None):
    cells = [nbformat.v4.new_markdown_cell("# Area"),
             nbformat.v4.new_code_cell("import functools", metadata={"tags": ["setup"]}),
             nbformat.v4.new_code_cell("1 / 0", id="long-training"),
             nbformat.v4.new_code_cell(stub, metadata=metadata or {"tags": ["exercise"], "exercise": "98.1"}),
             nbformat.v4.new_code_cell("from ftkit.course.exercise import check\nreport = check('98.1', area)",
                                       metadata={"tags": ["check"]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def run(solved):
    namespace = {}
    for cell in solved.cells:
        exec(cell.source, namespace)
    return namespace


def test_the_official_answer_takes_the_place_of_the_stub_and_the_rest_of_the_cell_stays(lesson, tmp_path):
    path = notebook(tmp_path / "98_shapes.ipynb")
    before = path.read_bytes()
    solved = solved_notebook(path)
    assert len(solved.cells) == 5 and path.read_bytes() == before
    assert solved.cells[3].source == ("# Fill in the body.\nimport functools\n\n\n"
                                      "@functools.lru_cache\ndef area(width, height):\n"
                                      "    return width * height\n\nprint('defined')")


def test_exercise_and_check_cells_alone_pass_when_solved(lesson, tmp_path):
    namespace = run(solved_notebook(notebook(tmp_path / "98_shapes.ipynb"), only=NEEDED_TAGS))
    assert namespace["report"].state == "passed" and score(lesson).passed == 1


def test_a_known_wrong_answer_gets_its_hint(lesson, tmp_path):
    wrong = {"98.1": "def area(width, height):\n    return width + height\n"}
    namespace = run(solved_notebook(notebook(tmp_path / "98_shapes.ipynb"), only=NEEDED_TAGS, answers=wrong))
    assert namespace["report"].rows[1].hint == "You added the sides."


@pytest.mark.parametrize(("stub", "metadata", "words"), [
    (STUB, {"tags": ["exercise"]}, "must be tagged 'exercise' with metadata {'exercise': 'NN.n'}, got 'only one"),
    (STUB, {"exercise": "98.1"}, "must be tagged 'exercise'"),
    (STUB, {"tags": ["exercise"], "exercise": "98.7"}, "exercise must be one of 98.1, 98.2, got '98.7'"),
    ("def aera(): pass", None, "exercise cell 98.1 of 98_shapes.ipynb must be a cell that defines area"),
])
def test_an_exercise_cell_that_names_none_or_defines_another_is_refused(lesson, tmp_path, stub, metadata, words):
    with pytest.raises(Refusal, match=words):
        solved_notebook(notebook(tmp_path / "98_shapes.ipynb", stub, metadata))


def test_a_class_takes_the_place_of_its_stub_with_what_it_needs(models_lesson, tmp_path):
    cells = [nbformat.v4.new_code_cell("from torch import nn\n\n\nclass Double(nn.Module):\n    def forward(self, x):\n"
                                       "        raise NotImplementedError\n\n\nlayer = 3",
                                       metadata={"tags": ["exercise"], "exercise": "97.1"})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "97_models.ipynb")
    namespace = run(solved_notebook(tmp_path / "97_models.ipynb"))
    assert grade("97.1", find_check("97.1")[1], namespace["Double"]).state == "passed" and namespace["layer"] == 3
    namespace = {}
    exec(cells[0].source, namespace)
    assert grade("97.1", find_check("97.1")[1], namespace["Double"]).state == "failed"  # its stub takes no width
