"""Notebooks run strictly. The kernels are started once for the module: each costs a second."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from ftkit.errors import Refusal
from ftkit.notebooks import course as course_module
from ftkit.notebooks import kernel as kernel_module
from ftkit.notebooks import run as run_module
from ftkit.notebooks.course import chosen_lessons, find_lesson, notebooks_folder, read_results, run_course
from ftkit.notebooks.html import path_replacements, scrubbed, to_html
from ftkit.notebooks.kernel import kernel_env
from ftkit.notebooks.run import parameters_hash, read_result, result_text, run_notebook, stamp_of

PARAMETERS = 'scale: str = "tiny"\nseed: int = 0\nout_dir: str = "runs"\nsize_mib: int = 1\ndata: str = ""'
START = 'from ftkit.course.start import start\nlesson = start("00_start_here", globals())'
SCORE = '''from ftkit.course.progress import Score
Score("00_start_here", 2, 5)'''
MEMORY = "held = bytearray(size_mib * 2**20)\nfor index in range(0, len(held), 4096):\n    held[index] = 1\ndel held"


def write(path, *cells, tag="parameters", parameters=PARAMETERS):
    """A lesson with its parameters cell and then code cells given as (id, source) or (id, source, tag)."""
    cells = [("parameters-cell", parameters, tag), *cells]
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(source, id=identity, metadata={"tags": list(tags)})
        for identity, source, *tags in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Four lessons run once: one good, one that fails in a cell, one that is misdeclared, one that never ends."""
    folder = tmp_path_factory.mktemp("course")
    lessons = folder / "notebooks"
    write(lessons / "00_good.ipynb", ("config", START), ("memory", MEMORY.replace("size_mib", "300")),
          ("where", "import os, sys\nprint(sys.executable, os.getcwd(), scale, data)\nopen('made.txt', 'w').close()"),
          ("table", "print('before  0.1\\nafter   0.9')", "result"), ("score", SCORE))
    write(lessons / "01_broken.ipynb", ("config", START), ("works", "print('so far so good')"),
          ("fails", "1 / 0"), ("never", "print('not reached')"))
    write(lessons / "02_untagged.ipynb", ("config", START), tag="paramters")
    write(lessons / "03_endless.ipynb", ("config", "print('waiting')"), ("waits", "import time\ntime.sleep(600)"))
    write(lessons / "not_a_lesson.ipynb", ("never", "1 / 0"))
    before = {path: path.read_bytes() for path in lessons.iterdir()}
    results = list(run_course(lessons, folder / "build", limit_s=6))
    assert {path: path.read_bytes() for path in lessons.iterdir()} == before
    return folder, {result.name: result for result in results}


def test_one_failure_does_not_stop_the_others_and_the_table_holds_all(course):
    folder, results = course
    assert {name: result.status for name, result in results.items()} == {
        "00_good": "ok", "01_broken": "failed", "02_untagged": "failed", "03_endless": "failed"}
    rows = json.loads((folder / "build" / "results.json").read_text("utf-8"))
    assert [row["name"] for row in rows] == list(results)
    assert {"name", "status", "seconds", "peak_gib", "score"} <= rows[0].keys()
    assert rows[0]["score"] == "2 of 5" and rows[1]["score"] is None
    assert [dataclasses.asdict(result) for result in read_results(folder / "build")] == rows


def test_the_peak_holds_memory_that_was_freed_again(course):
    _, results = course
    assert 0.3 < results["00_good"].peak_gib < 2  # 300 MiB held and freed, and an interpreter beside it
    assert results["01_broken"].peak_gib < results["00_good"].peak_gib


def test_the_kernel_is_this_python_in_a_folder_of_its_own_with_the_dial_set(course):
    folder, _ = course
    copy = nbformat.read(folder / "build" / "00_good.ipynb", as_version=4)
    printed = next(cell for cell in copy.cells if cell.id == "where").outputs[0].text
    assert Path(sys.executable).name in printed and " . tiny" in printed
    assert (folder / "build" / "00_good" / "made.txt").is_file()
    assert not (folder / "notebooks" / "made.txt").exists()


def test_a_failed_run_keeps_its_copy_its_error_and_its_place(course):
    folder, results = course
    assert results["01_broken"].cell == "fails"
    assert results["01_broken"].error == "ZeroDivisionError: division by zero"
    copy = nbformat.read(folder / "build" / "01_broken.ipynb", as_version=4)
    outputs = {cell.id: cell.outputs for cell in copy.cells if cell.cell_type == "code"}
    assert outputs["works"][0].text == "so far so good\n" and not outputs["never"]
    assert outputs["fails"][0].ename == "ZeroDivisionError"
    assert "division by zero" in (folder / "build" / "01_broken.html").read_text("utf-8")


def test_a_notebook_past_its_limit_is_stopped_and_keeps_what_it_did(course):
    folder, results = course
    assert results["03_endless"].cell == "waits"
    assert results["03_endless"].error == "TimeLimit: the notebook ran past its limit of 6 s"
    copy = nbformat.read(folder / "build" / "03_endless.ipynb", as_version=4)
    outputs = {cell.id: cell.outputs for cell in copy.cells if cell.cell_type == "code"}
    assert outputs["config"][0].text == "waiting\n" and outputs["waits"][-1].ename == "TimeLimit"


def test_a_misdeclared_notebook_is_refused_before_it_runs(course):
    folder, results = course
    assert results["02_untagged"].error.startswith("Refusal: 02_untagged.ipynb must be a notebook with one code cell")
    assert not (folder / "build" / "02_untagged.ipynb").exists()


def test_copies_and_pages_hold_no_path_of_this_machine(course):
    folder, _ = course
    for path in (folder / "build").glob("*.*"):
        text = path.read_text("utf-8")
        assert str(folder) not in text and str(Path.home()) + "/" not in text and sys.prefix + "/" not in text


def test_a_second_time_only_what_failed_or_changed_is_run(course, monkeypatch):
    folder, results = course
    started = []
    real = run_module.execute
    monkeypatch.setattr(run_module, "execute", lambda *a, **k: started.append(k["cwd"].name) or real(*a, **k))
    again = list(run_course(folder / "notebooks", folder / "build", only=["00", "02_untagged"], limit_s=6))
    assert started == []
    assert again[0] == dataclasses.replace(results["00_good"], skipped=True)


def test_a_stamp_changes_with_notebook_parameters_named_files_and_package(tmp_path, monkeypatch):
    path, data = write(tmp_path / "00_a.ipynb"), tmp_path / "d.json"
    data.write_text("[]")
    stamps = [stamp_of(path, {"data": str(data), "seed": 0}), stamp_of(path, {"data": str(data), "seed": 1})]
    data.write_text("[1]")
    stamps.append(stamp_of(path, {"data": str(data), "seed": 0}))
    write(path, ("more", "1"))
    stamps.append(stamp_of(path, {"data": str(data), "seed": 0}))
    package = tmp_path / "ftkit"
    package.mkdir()
    (package / "new.py").write_text("x = 1")
    monkeypatch.setattr(run_module.ftkit, "__file__", str(package / "__init__.py"))
    stamps.append(stamp_of(path, {"data": str(data), "seed": 0}))
    assert len(set(stamps)) == 5
    assert parameters_hash("a", {"x": "y" * 5000 + "\0"}) == parameters_hash("a", {"x": "y" * 5000 + "\0"})


def test_the_result_text_is_what_the_tagged_cells_show(course):
    folder, _ = course
    assert result_text(folder / "build" / "00_good.ipynb") == "before  0.1\nafter   0.9"
    assert result_text(folder / "build" / "01_broken.ipynb") == ""


def test_a_broken_copy_counts_as_not_run(tmp_path):
    (tmp_path / "a.ipynb").write_text("{")
    assert read_result(tmp_path / "a.ipynb") is None and read_result(tmp_path / "b.ipynb") is None


@pytest.mark.parametrize(("more", "words"), [
    ({"parameters": {"sed": 1}}, "parameter of 00_a must be one of scale, .* got 'sed'. Did you mean seed"),
    ({"parameters": {"seed": "one"}}, "seed must be a whole number"),
    ({"parameters": {"scale": "huge"}}, "scale must be one of tiny, small, full"),
    ({"limit_s": 0}, "limit_s must be more than 0 seconds, or None, got 0"),
    ({"limit_s": -1.5}, "limit_s must be more than 0 seconds"),
    ({"executed": "00_a.ipynb"}, "executed must be another file than the notebook, got '00_a.ipynb'"),
])
def test_a_run_that_cannot_be_right_is_refused_before_anything_starts(tmp_path, monkeypatch, more, words):
    monkeypatch.setattr(run_module, "execute", lambda *a, **k: pytest.fail("started"))
    path = write(tmp_path / "00_a.ipynb")
    executed = tmp_path / more.pop("executed", "out/00_a.ipynb")
    with pytest.raises(Refusal, match=words):
        run_notebook(path, executed, **more)


def test_a_lesson_is_found_by_stem_number_or_path(tmp_path):
    path = write(tmp_path / "03_data.ipynb")
    write(tmp_path / "00_start.ipynb")
    assert {find_lesson(name, tmp_path) for name in ("03_data", "03_data.ipynb", "3", "03", str(path))} == {path}
    with pytest.raises(Refusal, match="lesson must be one of 00_start, 03_data, got '03_dat'. Did you mean 03_data"):
        find_lesson("03_dat", tmp_path)
    with pytest.raises(Refusal, match="notebook must be an existing file, .* Did you mean .*03_data.ipynb"):
        find_lesson(str(tmp_path / "03_dta.ipynb"), tmp_path)
    with pytest.raises(Refusal, match="notebook must be an existing file, or the name of a lesson, got 'mine/03_data"):
        find_lesson("mine/03_data.ipynb", tmp_path)  # not the lesson of that name


@pytest.mark.parametrize(("more", "words"), [
    ({"scale": "tny"}, "scale must be one of tiny, small, full, got 'tny'. Did you mean tiny"),
    ({"only": ["07"]}, "lesson must be one of 00_a, got '07'"),
])
def test_a_course_of_an_unknown_scale_or_lesson_is_refused(tmp_path, more, words):
    write(tmp_path / "00_a.ipynb")
    with pytest.raises(Refusal, match=words):
        chosen_lessons(tmp_path, **more)


def test_a_course_without_lessons_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"notebooks must be a folder with lessons \(NN_stem.ipynb\)"):
        list(run_course(tmp_path, tmp_path / "build"))


def test_results_of_another_form_are_refused(tmp_path):
    (tmp_path / "results.json").write_text('[{"name": "a"}]')
    with pytest.raises(Refusal, match="results.json must be a list of results of this version.*Run the course again."):
        read_results(tmp_path)


def test_the_lessons_are_found_in_a_checkout_in_an_installation_or_where_the_variable_says(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "00_a.ipynb")
    monkeypatch.setattr(course_module.ftkit, "__file__", str(tmp_path / "kit" / "src" / "ftkit" / "__init__.py"))
    monkeypatch.setattr(course_module.sysconfig, "get_path", lambda name: str(tmp_path / "prefix"))
    monkeypatch.setattr(course_module.site, "getuserbase", lambda: str(tmp_path / "user"))
    monkeypatch.delenv("FTKIT_NOTEBOOKS", raising=False)
    with pytest.raises(Refusal, match="lessons must be in the checkout or installed .*, got 'none found'"):
        notebooks_folder()
    installed = write(tmp_path / "prefix" / "share" / "ftkit" / "notebooks" / "00_a.ipynb").parent
    assert notebooks_folder() == installed
    checkout = write(tmp_path / "kit" / "notebooks" / "00_a.ipynb").parent
    assert notebooks_folder() == checkout
    monkeypatch.setenv("FTKIT_NOTEBOOKS", str(elsewhere))
    assert notebooks_folder() == elsewhere
    monkeypatch.setenv("FTKIT_NOTEBOOKS", str(tmp_path))
    with pytest.raises(Refusal, match="FTKIT_NOTEBOOKS must be a folder with lessons"):
        notebooks_folder()


def test_a_file_is_shown_by_its_name_and_a_picture_is_left_as_it_is(tmp_path):
    secret = tmp_path / "patients.json"
    picture = "data:image/png;base64,AAAA" + str(tmp_path)[1:] + "/patients.json=="
    outputs = [nbformat.v4.new_output("display_data", {"image/png": str(secret), "text/plain": f"read {secret}",
                                                       "text/html": f"<img src='{picture}'>{secret}"}),
               nbformat.v4.new_output("error", ename="E", evalue=str(secret), traceback=[f"at {secret}"])]
    cell = nbformat.v4.new_code_cell(f"data = '{secret}'", outputs=outputs)
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"parameters": {"data": str(secret)},
                                                                              "input_path": "x"}})
    clean = scrubbed(notebook, path_replacements(secret))
    shown = clean.cells[0].outputs[0].data
    assert shown["text/plain"] == "read patients.json" and shown["image/png"] == str(secret)
    assert shown["text/html"] == f"<img src='{picture}'>patients.json"
    assert clean.cells[0].outputs[1].evalue == "patients.json"
    assert clean.cells[0].outputs[1].traceback == ["at patients.json"]
    assert clean.cells[0].source == "data = 'patients.json'"
    assert clean.metadata.papermill == {"parameters": {"data": "patients.json"}}
    assert notebook.cells[0].outputs[0].data["text/plain"] == f"read {secret}"
    assert "patients.json" in to_html(clean, "A title")


def test_what_was_printed_is_one_piece_again_and_a_path_cut_in_two_is_found():
    pieces = [nbformat.v4.new_output("stream", name=name, text=text)
              for name, text in (("stdout", "read /data/pati"), ("stdout", "ents.json\n"), ("stderr", "slow\n"))]
    clean = scrubbed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("read()", outputs=pieces)]),
                     {"/data/patients.json": "patients.json"})
    assert [output.text for output in clean.cells[0].outputs] == ["read patients.json\n", "slow\n"]


def test_a_picture_is_described_by_its_caption_on_the_page(caplog):
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    cells = [nbformat.v4.new_code_cell('ax = draw()\nplots.caption(ax, "Look at \\"both\\" "\n              "ends.")',
                                       outputs=[picture]),
             nbformat.v4.new_code_cell("draw()", outputs=[picture], id="bare")]
    html = to_html(nbformat.v4.new_notebook(cells=cells), "A title")
    assert 'alt="Look at &quot;both&quot; ends."' in html and 'alt="A picture, made by the cell bare"' in html
    assert not caplog.records


def test_a_checkout_that_is_not_installed_is_found_by_the_kernel():
    source = str(Path(run_module.ftkit.__file__).resolve().parents[1])
    assert kernel_env({"A": "b"})["PYTHONPATH"].split(os.pathsep)[0] == source or "site-packages" in source
    assert kernel_env({"A": "b"})["A"] == "b"


def test_a_kernel_that_does_not_start_is_one_notebooks_failure(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(kernel_module.papermill, "execute_notebook", broken)
    result = run_notebook(write(tmp_path / "00_a.ipynb"), tmp_path / "out" / "00_a.ipynb")
    assert (result.status, result.cell, result.error) == ("failed", None, "RuntimeError: no kernel")
    assert (tmp_path / "out" / "00_a.ipynb").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a POSIX signal")
def test_a_kernel_that_dies_is_reported_with_its_place(tmp_path):
    path = write(tmp_path / "00_a.ipynb", ("dies", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    started = time.monotonic()
    result = run_notebook(path, tmp_path / "out" / "00_a.ipynb", limit_s=60)
    assert (result.status, result.cell) == ("failed", "dies") and result.error.startswith("KernelDied")
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(("options", "words"), [
    (["-p", "sed", "1"], "Refusal: parameter of this notebook must be one of scale, .*'sed'. Did you mean seed"),
    (["-p", "seed", "one"], r"Refusal: seed must be a whole number \(int\), got 'one'"),
])
def test_plain_papermill_is_refused_inside_the_run(tmp_path, options, words):
    path = write(tmp_path / "00_a.ipynb", ("config", START), ("never", "open('ran.txt', 'w').close()"))
    run = subprocess.run([sys.executable, "-m", "papermill", str(path), "out.ipynb", "--no-progress-bar", *options],
                         cwd=tmp_path, env=kernel_env({}), capture_output=True, text=True)
    assert run.returncode != 0
    assert re.search(words, run.stderr), run.stderr[-2000:]
    assert not (tmp_path / "ran.txt").exists()


def test_equations_stand_in_the_page_as_mathml_and_money_and_code_stay_what_they_are():
    text = ("The loss is $L(\\theta) = \\frac{1}{n}$ for $n$ tokens.\n\n$$\\hat{W} = \\sum_i s_i$$\n\nIt costs "
            "$5 or $6; `$HOME` and `$x$` are code.\n\n```\na = $b$\n```\n")
    html = to_html(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), "A title")
    assert html.count("<math") == 3 and html.count('display="block"') == 1
    assert "\\frac" not in html and "\\hat" not in html
    assert "costs $5 or $6" in html and "$HOME" in html and "$x$" in html and "$b$" in html
