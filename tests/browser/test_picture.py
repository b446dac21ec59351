"""The README's picture: taken from an executed page, refused with a reason where it can't be."""

import importlib.util
import shutil
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest

from ftkit.errors import Refusal
from ftkit.notebooks.html import to_html
from ftkit.notebooks.run import Result

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "picture.py"


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("picture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executed(folder: Path, error: str | None = None) -> Path:
    """The page of a lesson with three cells that show something, and one of them tagged."""
    cells = [nbformat.v4.new_code_cell(f"show({name!r})", id=name, metadata={"tags": tags},
                                       outputs=[nbformat.v4.new_output("stream", text=f"{name}\n" * lines)])
             for name, tags, lines in (("doctor", [], 40), ("after", ["result"], 3), ("score", [], 1))]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("", metadata={"tags": ["silent"]})])
    result = Result("00_start_here", "failed" if error else "ok", 1.0, 0.1, None, None, error)
    notebook.metadata["ftkit"] = {"result": asdict(result), "stamp": ""}
    page = folder / "00_start_here.html"
    page.write_text(to_html(notebook, "a lesson"), "utf-8")
    nbformat.write(notebook, page.with_suffix(".ipynb"))
    return page


def apart(function, *arguments):
    """The function's result, from a thread of its own: the browser of the other tests may be open in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def size_px(png: Path) -> tuple[int, int]:
    """Width and height, which stand in the first block of a PNG file."""
    return struct.unpack(">II", png.read_bytes()[16:24])


@pytest.fixture
def browser(picture):
    pytest.importorskip("playwright", reason="playwright is not installed (pip install 'ftkit[dev]')")
    found = next(filter(None, map(shutil.which, picture.BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium is installed")
    return found


def test_the_picture_holds_the_chosen_cells_at_twice_the_size(picture, browser, tmp_path, capsys):
    page, one, two = executed(tmp_path), tmp_path / "figures" / "one.png", tmp_path / "two.png"
    assert apart(picture.main, ["--page", str(page), "--out", str(one)]) == 0
    assert "one.png: 1 cell(s) of 00_start_here.html" in capsys.readouterr().out
    assert apart(picture.take, page, two, ["result", "doctor"], browser) == 2
    width = picture.WIDTH_PX * picture.SCALE
    assert width >= size_px(one)[0] == size_px(two)[0] > 0.9 * width  # the page has a margin
    assert size_px(two)[1] > size_px(one)[1] + 40 * 10 * picture.SCALE  # 40 lines more, each over 10 px high


def test_lesson_00_has_the_cells_that_the_picture_is_made_of(picture):
    lesson = nbformat.read(SCRIPT.parents[1] / "notebooks" / f"{picture.PAGE.stem}.ipynb", as_version=4)
    assert set(picture.CELLS) <= {cell.id for cell in lesson.cells if cell.cell_type == "code"}


@pytest.mark.parametrize("cell", ["resutl", "silent"])
def test_a_cell_that_is_not_there_or_shows_nothing_is_refused(cell, picture, browser, tmp_path):
    with pytest.raises(Refusal, match="--cell must be the id or tag of a cell with an output on 00_start_here.html"):
        apart(picture.take, executed(tmp_path), tmp_path / "p.png", [cell], browser)


def test_a_missing_page_is_refused_with_the_command_that_makes_it(picture, tmp_path):
    with pytest.raises(Refusal, match="page must be an executed lesson, got '00.html'. Make it with: ftkit course 00"):
        picture.take(tmp_path / "00.html", tmp_path / "p.png", ["result"], "chromium")


def test_the_page_of_a_failed_run_is_refused(picture, tmp_path):
    page = executed(tmp_path, error="ZeroDivisionError: division by zero")
    with pytest.raises(Refusal, match="00_start_here.html must be of a lesson that ran to its end, got 'ZeroDivision"):
        picture.take(page, tmp_path / "p.png", ["result"], "chromium")
    page.with_suffix(".ipynb").unlink()
    with pytest.raises(Refusal, match="got 'no result beside it'. Run it again with: ftkit course 00"):
        picture.take(page, tmp_path / "p.png", ["result"], "chromium")


def test_without_a_browser_the_command_says_which_names_it_looked_for(picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(picture.shutil, "which", lambda name: None)
    assert picture.main(["--page", str(executed(tmp_path)), "--out", str(tmp_path / "p.png")]) == 2
    said = capsys.readouterr().err
    assert "--browser must be an installed Chromium, got 'none of chromium, " in said and "apt install chromium" in said
    with pytest.raises(Refusal, match="got 'my-browser'"):
        picture.find_browser("my-browser")


def test_without_playwright_the_command_that_installs_it_is_named(picture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(Refusal, match=r'playwright is not installed. Install it with: pip install "ftkit\[dev\]"'):
        picture.take(executed(tmp_path), tmp_path / "p.png", ["result"], "chromium")
