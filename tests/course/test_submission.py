"""Which lesson a learner's notebook is, and what is run to have an answer."""

import json

import nbformat
import pytest

from ftkit.course.submission import program, read_submission
from ftkit.errors import Refusal

STUB = "def area(width, height):\n    return size(width) * height"
SHARE = {"exercise": "98.2"}
AREA = {"exercise": "98.1"}


def write(path, *cells):
    """A notebook of code cells, each a source or a pair of source and metadata."""
    made = [nbformat.v4.new_code_cell(*([cell] if isinstance(cell, str) else cell[:1]), id=f"cell-{number}",
                                      metadata={} if isinstance(cell, str) else cell[1])
            for number, cell in enumerate(cells)]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Area"), *made]), path)
    return path


@pytest.fixture
def lines_of(lesson, tmp_path):
    def lines(*cells, exercise="98.1"):
        return [line for _, line in program(read_submission(write(tmp_path / "a.ipynb", *cells)), exercise).lines]

    return lines


def test_only_what_an_answer_needs_by_name_is_run_in_order_from_all_cells(lines_of):
    assert lines_of(
        "import math\nimport torch", "scale: str = 'tiny'\nmodel = load(scale)", "factor = math.sqrt(4)",
        (STUB, AREA), "def size(width):\n    return width * factor / 2", "losses = train(model)", "print(area(1, 2))",
    ) == ["import math", "factor = math.sqrt(4)", STUB, "def size(width):\n    return width * factor / 2"]


def test_loops_and_with_blocks_are_run_in_the_answers_own_cell_only(lines_of, lesson, tmp_path):
    cells = ["sizes = {}\nfor size in range(3):\n    sizes[size] = 1", "if True:\n    two = 2",
             ("extra = []\nextra.append(two)\nfor one in (1,):\n    extra.append(sizes)\nprint(extra)\n"
              "def area(w, h):\n    return sizes[w], extra", AREA)]
    assert lines_of(*cells) == ["sizes = {}", "if True:\n    two = 2", "extra = []", "extra.append(two)",
                                "def area(w, h):\n    return sizes[w], extra"]
    found = program(read_submission(write(tmp_path / "a.ipynb", "with open('x') as rows:\n    pass",
                                          ("def area(w, h):\n    return rows", AREA))), "98.1")
    assert found.left_out == {"rows": "cell cell-0 is not run when a notebook is graded"}


def test_a_loop_of_its_own_cell_that_fills_what_it_needs_is_run(lines_of):
    assert lines_of(("table = {}\nfor one in range(3):\n    table[one] = 1\ndef area(w, h):\n    return table", AREA)) \
        == ["table = {}", "for one in range(3):\n    table[one] = 1", "def area(w, h):\n    return table"]


def test_the_last_definition_counts_wherever_it_stands(lines_of):
    again = "def area(width, height):\n    return 2"
    assert lines_of((STUB, AREA), "def size(w):\n    return w", again)[-1] == again


def test_lines_for_ipython_are_passed_over(lines_of):
    assert lines_of("%matplotlib inline\n!pip list\nimport math\nmath.pi?", "%%bash\nls",
                    ("%time print(1)\ndef area(w, h):\n    %pdb\n    return math.pi", AREA)) \
        == ["import math", "def area(w, h):\n    pass\n    return math.pi"]


def test_a_value_is_an_answer_too(lines_of):
    assert lines_of(("share = 1 / 4", SHARE), exercise="98.2") == ["share = 1 / 4"]


@pytest.mark.parametrize(("cell", "words"), [
    ("def aera(width, height):\n    return 1", "No cell defines `area`. There is `aera`: was it renamed?"),
    ("def other_things(width, height):\n    return 1", "There is `other_things`: was it renamed?"),
    ("x = 3", "No cell defines `area`."),
])
def test_a_stub_that_is_gone_or_renamed_is_told(lesson, tmp_path, cell, words):
    found = program(read_submission(write(tmp_path / "a.ipynb", (cell, AREA))), "98.1")
    assert found.missing.endswith(words) and not found.lines


def test_a_deleted_cell_is_told_and_costs_no_other_answer(lesson, tmp_path):
    found = read_submission(write(tmp_path / "a.ipynb", ("share = 1", SHARE)))
    assert program(found, "98.1").missing == "No cell defines `area`." and program(found, "98.2").lines


def test_a_syntax_error_is_told_with_its_line_and_costs_no_other_answer(lesson, tmp_path):
    found = read_submission(write(tmp_path / "a.ipynb", ("def area(w, h):\n    return w *", AREA), ("share = 1", SHARE),
                                  "x = (\n", "y = '\0'", "z = " + "(" * 500 + ")" * 500))
    assert program(found, "98.1").broken == "Its cell can't be read: invalid syntax, line 2."
    assert program(found, "98.2").lines and sum(bool(cell.error) for cell in found.cells) >= 3


@pytest.mark.parametrize(("name", "cells"), [
    ("mine.ipynb", [(STUB, AREA)]), ("00_start_here.ipynb", [(STUB, AREA)]),
    ("mine.ipynb", ["check('98.1', area)"]), ("mine.ipynb", ['x = 1\nsolution("98.1")']), ("98_shapes.ipynb", ["1"]),
])
def test_the_lesson_is_known_by_its_exercises_by_its_checks_or_by_the_files_name(lesson, tmp_path, name, cells):
    assert read_submission(write(tmp_path / name, *cells)).stem == "98_shapes"


def test_a_notebook_of_an_older_format_is_read(lesson, tmp_path):
    (tmp_path / "old.ipynb").write_text(json.dumps({"nbformat": 3, "worksheets": [{"cells": [
        {"cell_type": "code", "input": ["check('98.1',", " area)"]}]}]}))
    assert read_submission(tmp_path / "old.ipynb").stem == "98_shapes"


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"3", b"null", b"\xff\xfe\x00", b'{"cells": 3}', b'{"cells": [3]}', b"[" * 100_000,
    b'{"cells": [{"cell_type": "code"}]}', b'{"cells": [{"cell_type": "code", "source": [3]}]}', b"PK\x03\x04"])
def test_a_damaged_notebook_is_refused(lesson, tmp_path, content):
    (tmp_path / "98_shapes.ipynb").write_bytes(content)
    with pytest.raises(Refusal, match=r"98_shapes.ipynb must be a Jupyter notebook, got 'a damaged one \(\w+\)'. Save"):
        read_submission(tmp_path / "98_shapes.ipynb")


def test_a_file_that_is_missing_or_no_lesson_is_refused(lesson, tmp_path):
    with pytest.raises(Refusal, match="notebook must be an existing file, got 'none.ipynb'. Check the path."):
        read_submission(tmp_path / "none.ipynb")
    with pytest.raises(Refusal, match="mine.ipynb must be a lesson's notebook, got 'one without exercises of the kit'"):
        read_submission(write(tmp_path / "mine.ipynb", "check('55.1', x)", ("x = 1", {"exercise": "55.1"})))
