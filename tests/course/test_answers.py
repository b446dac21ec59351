"""Every exercise of every lesson: its official answer, its stub, its known wrong answers, and odd ones.

The wrong answers of a lesson stand in `wrong/cNN_stem.py`: for each exercise a fragment of the hint that it must get,
and the source of the answer.
"""

import ast
import functools
import math
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import torch

from ftkit.course import catalogue
from ftkit.course.definitions import definition_span
from ftkit.course.judging import FAILED, NOT_ATTEMPTED, PASSED, grade
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, exercise_cells, solved_notebook

ROOT = Path(__file__).parents[2]
CHECKS = {exercise: check for stem in catalogue.lessons() for exercise, check in catalogue.checks_of(stem).items()}
each_lesson = pytest.mark.parametrize("stem", catalogue.lessons())
each_exercise = pytest.mark.parametrize("exercise", CHECKS)
FEWEST_WRONG = 5


def notebook_of(exercise_or_stem):
    number = exercise_or_stem[:2]
    stem = next(stem for stem in catalogue.lessons() if stem.startswith(number))
    return ROOT / "notebooks" / f"{stem}.ipynb"


@functools.cache
def wrong_answers(stem):
    path = Path(__file__).parent / "wrong" / f"c{stem}.py"
    assert path.is_file(), f"the wrong answers of {stem} are to stand in wrong/{path.name}"
    return runpy.run_path(str(path))["WRONG"]


@functools.cache
def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def graded(exercise, answer, **how):
    return grade(exercise, CHECKS[exercise], answer, **how)


def defined(exercise, *sources):
    namespace = {}
    for source in sources:
        exec(compile(source, f"answer to {exercise}", "exec"), namespace)
    return namespace[CHECKS[exercise].answer]


# ---- the exercises themselves

@each_lesson
def test_the_exercises_of_a_lesson_grow_harder_and_stand_in_the_notebook_in_this_order(stem):
    checks = catalogue.checks_of(stem)
    difficulties = [check.difficulty for check in checks.values()]
    assert difficulties == sorted(difficulties) and difficulties[0] < difficulties[-1]
    assert [cell.metadata["exercise"] for cell in exercise_cells(nbformat.read(notebook_of(stem), 4))] == list(checks)


@each_exercise
def test_the_notebook_states_the_minutes_of_the_check(exercise):
    before = []
    for cell in cells_of(notebook_of(exercise)):
        if cell.metadata.get("exercise") == exercise:
            break
        before += [cell.source] if cell.cell_type == "markdown" else []
    said = re.search(rf"Exercise {re.escape(exercise)}\b.*\((\d+) minutes\)", before[-1])
    assert said, f"the cell before {exercise} has no heading 'Exercise {exercise} ... (N minutes)'"
    assert int(said[1]) == CHECKS[exercise].minutes


@each_exercise
def test_every_tolerance_has_its_reason_and_every_check_some_hints(exercise):
    cases = CHECKS[exercise].cases()
    assert [case.name for case in cases if case.tolerance and not case.reason] == []
    assert len({case.name for case in cases}) == len(cases) >= 2
    assert any(case.hints for case in cases)


# ---- right, untouched, wrong

@each_exercise
def test_the_official_answer_passes_and_so_does_its_source_alone(exercise):
    assert graded(exercise, catalogue.solution_value(exercise)).state == PASSED
    report = graded(exercise, defined(exercise, catalogue.solution_source(exercise)))
    assert report.state == PASSED, report


@each_exercise
def test_the_stub_as_it_stands_in_the_notebook_is_not_attempted(exercise):
    cells = cells_of(notebook_of(exercise))
    setup = [cell.source for cell in cells if "setup" in cell.metadata.get("tags", [])]
    stub = next(cell.source for cell in cells if cell.metadata.get("exercise") == exercise)
    assert graded(exercise, defined(exercise, *setup, stub)).state == NOT_ATTEMPTED


EACH_MISTAKE = [(exercise, hint) for stem in catalogue.lessons() for exercise, mistakes in wrong_answers(stem).items()
                for hint in mistakes]


@pytest.mark.parametrize(("exercise", "hint"), EACH_MISTAKE)
def test_a_known_wrong_answer_fails_and_gets_its_own_hint(exercise, hint):
    source = wrong_answers(catalogue.find_check(exercise)[0])[exercise][hint]
    report = graded(exercise, defined(exercise, source), limit_s=5.0)
    assert report.state == FAILED and any(hint in row.hint for row in report.rows), report


@each_lesson
def test_there_are_enough_known_wrong_answers_and_no_two_alike(stem):
    wrong = wrong_answers(stem)
    assert list(wrong) == list(catalogue.checks_of(stem))
    for exercise, mistakes in wrong.items():
        kinds = {ast.dump(ast.parse(source)) for source in mistakes.values()}
        assert len(kinds) == len(mistakes) >= FEWEST_WRONG, exercise


# ---- odd answers, the same for every exercise

def first_argument(*given, **named):
    return next(iter((*given, *named.values())), None)


def raising(*given, **named):
    raise RuntimeError("this answer stops")


ODD = {
    "returns nothing": lambda *given, **named: None,
    "returns its first argument": first_argument,
    "returns 0": lambda *given, **named: 0,
    "returns NaN": lambda *given, **named: math.nan,
    "returns an empty list": lambda *given, **named: [],
    "returns an empty tensor": lambda *given, **named: torch.empty(0),
    "returns itself": lambda *given, **named: ODD["returns itself"],
    "raises": raising,
    "ends the program": lambda *given, **named: raise_(SystemExit(0)),
    "is text": "an answer",
    "is a number": -7.25,
    "is a class": type("Answer", (), {}),
    "is a model": torch.nn.Identity(),
}


def raise_(error):
    raise error


@pytest.mark.parametrize("odd", ODD)
@each_exercise
def test_an_odd_answer_fails_and_never_ends_the_check(exercise, odd):
    assert graded(exercise, ODD[odd]).state == FAILED
    assert graded(exercise, None).state == graded(exercise, ...).state == NOT_ATTEMPTED


def spoil(value):
    """Changes data in place; whether there was any."""
    if isinstance(value, torch.Tensor) and value.numel():
        with torch.no_grad():
            value.copy_(~value if value.dtype == torch.bool else value + 1)
        return True
    if isinstance(value, list | dict) and value:
        value.clear()
        return True
    return isinstance(value, tuple) and any([spoil(one) for one in value])


@each_exercise
def test_a_right_answer_that_changes_what_it_is_given_fails(exercise):
    official, spoiled = catalogue.solution_value(exercise), []
    if isinstance(official, type) or not callable(official) or CHECKS[exercise].answer.endswith("_"):
        pytest.skip("a class, a value, or a function that is to change its arguments")

    def spoiling(*given, **named):
        result = official(*given, **named)
        spoiled.extend(filter(None, [spoil(one) for one in (*given, *named.values())]))
        return result

    report = graded(exercise, spoiling)
    assert report.state == (FAILED if spoiled else PASSED), report


# ---- the three runs of a notebook; the first, as it shipped, is in tests/notebooks

@each_lesson
def test_a_solved_notebook_passes_every_check(stem, run):
    run(solved_notebook(notebook_of(stem), only=NEEDED_TAGS))
    assert score(stem).passed == score(stem).total == len(catalogue.checks_of(stem))


@each_lesson
def test_a_notebook_with_wrong_answers_fails_every_check_with_a_hint(stem, run):
    answers = {exercise: next(iter(mistakes.values())) for exercise, mistakes in wrong_answers(stem).items()}
    solved = solved_notebook(notebook_of(stem), only=set(NEEDED_TAGS) - {"agree"}, answers=answers)
    solved.cells = [cell for cell in solved.cells if "config" not in cell.metadata["tags"]]  # answers need no model
    for cell in solved.cells:
        if "check" in cell.metadata.tags:
            cell.source = re.sub(r"^(check\(.*\))", r"reports = [*globals().get('reports', []), \1]", cell.source,
                                 flags=re.M)
    reports = run(solved)["reports"]
    assert [report.state for report in reports] == [FAILED] * len(answers)
    for report, mistakes in zip(reports, wrong_answers(stem).values(), strict=True):
        assert any(next(iter(mistakes)) in row.hint for row in report.rows), report
    assert score(stem).passed == 0


# ---- an exercise is never the code that was just shown

def normal(node):
    """A function or class as text that is the same for the same code under other names."""
    node = ast.parse(ast.unparse(node)).body[0]
    names = {}
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.ClassDef):
            one.decorator_list, one.name = [], ""
            if ast.get_docstring(one) is not None:
                one.body = one.body[1:]
        if isinstance(one, ast.FunctionDef):
            one.returns = None
        if isinstance(one, ast.arg):
            one.annotation = None
    for one in ast.walk(node):
        if isinstance(one, ast.arg):
            one.arg = names.setdefault(one.arg, f"name{len(names)}")
        if isinstance(one, ast.Name):
            one.id = names.setdefault(one.id, f"name{len(names)}")
    return ast.dump(node)


def shown_functions(source):
    return {normal(node): node.name for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@functools.cache
def package_functions():
    course = ROOT / "src" / "ftkit" / "course"
    files = [path for path in (ROOT / "src" / "ftkit").rglob("*.py") if course not in path.parents]
    return {shape: f"{path.stem}.{name}" for path in files for shape, name in
            shown_functions(path.read_text("utf-8")).items()}


@each_exercise
def test_the_answer_is_no_code_that_the_notebook_or_the_package_shows(exercise):
    source, name = catalogue.solution_source(exercise), CHECKS[exercise].answer
    first, behind = definition_span(source, name)
    node = ast.parse("\n".join(source.splitlines()[first:behind])).body[0]
    code = [cell.source for cell in cells_of(notebook_of(exercise)) if cell.cell_type == "code"]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        shown = {**package_functions(), **{shape: name for cell in code for shape, name in
                                           shown_functions(cell).items()}}
        assert shown.get(normal(node)) is None
    else:
        values = {ast.dump(one.value) for cell in code for one in ast.walk(ast.parse(cell))
                  if isinstance(one, ast.Assign | ast.AnnAssign) and one.value}
        assert ast.dump(node.value) not in values


def test_the_same_code_under_other_names_would_be_found():
    one, other = "def area(w, h):\n    '''It.'''\n    return w * h", "def size(a: int, b) -> int:\n    return a * b"
    assert shown_functions(one).keys() == shown_functions(other).keys()
    assert shown_functions(one).keys() != shown_functions("def size(a, b):\n    return b * a").keys()
