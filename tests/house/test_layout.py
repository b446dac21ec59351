"""One stem in four places, canonical notebooks, short files, and text that speaks of the project alone."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from ftkit.notebooks import tidy

ROOT = Path(__file__).parents[2]
STEMS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
SOURCES = sorted((ROOT / "src" / "ftkit").rglob("*.py"))


def tracked_texts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    texts = {".py", ".md", ".ipynb", ".toml", ".yml", ".json", ".lock", ""}
    return [ROOT / name for name in names if name and (ROOT / name).is_file() and (ROOT / name).suffix in texts]


@pytest.mark.parametrize("stem", STEMS)
def test_a_lesson_stands_in_its_four_places(stem):
    assert (ROOT / "lessons" / f"{stem}.md").is_file()
    assert (ROOT / "src/ftkit/course/checks" / f"c{stem}.py").is_file()
    assert (ROOT / "src/ftkit/course/solutions" / f"c{stem}.py").is_file()
    assert (ROOT / "tests/course" / f"test_c{stem}.py").is_file()


def test_no_page_or_check_is_without_its_notebook():
    pages = {path.stem for path in (ROOT / "lessons").glob("[0-9][0-9]_*.md")}
    checks = {path.stem[1:] for path in (ROOT / "src/ftkit/course/checks").glob("c[0-9]*.py")}
    assert pages == checks == set(STEMS)


@pytest.mark.parametrize("stem", STEMS)
def test_a_notebook_is_canonical_and_short_celled(stem):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert tidy.tidied(path.read_text("utf-8"), path.name) == path.read_text("utf-8")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), f"{cell.id} is not words"
        if cell.cell_type == "code":
            assert cell.source.count("\n") + 1 <= 25, f"{cell.id} has more than 25 lines"
            assert not re.search(r"sys\.path|^[!%]|autoreload", cell.source, re.M), cell.id


def test_notebooks_folder_holds_notebooks_alone():
    assert {path.suffix for path in (ROOT / "notebooks").iterdir() if not path.name.startswith(".")} == {".ipynb"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_files_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - documented.count("\n")
            assert lines <= 40, f"{path.name}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no module docstring"
    for node in tree.body:
        if "solutions" in path.parts:  # what a learner would write in the notebook, beside the exercise's text
            break
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_only_notebooks_the_course_and_the_command_line_print():
    may_print = {"cli.py", "sweep_commands.py", "plan_commands.py", "checkpoint_commands.py", "pretrain.py",
                 "doctor.py",  # commands, too
                 "progress.py"}  # a load that takes minutes has to say so
    for path in SOURCES:
        if path.name in may_print or "course" in path.parts or "notebooks" in path.parts:
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path.name


def test_no_path_of_one_machine_is_in_the_project():
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp)/\w+")
    planted = ("tests/", "src/ftkit/scrub.py")  # the scrubber, its examples and its tests plant such paths
    found = [path.name for path in tracked_texts() if not path.relative_to(ROOT).as_posix().startswith(planted)
             and pattern.search(path.read_text("utf-8"))]
    assert found == []
