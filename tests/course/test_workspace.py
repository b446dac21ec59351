"""The learner's own folder of lessons."""

import json

import nbformat
import pytest

from ftkit.course.workspace import answers_hash, fill, reset
from ftkit.errors import Refusal


def write(folder, name, source, **more):
    folder.mkdir(parents=True, exist_ok=True)
    cell = nbformat.v4.new_code_cell(source, id="cell", **more)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / name)
    return folder / name


@pytest.fixture
def places(tmp_path):
    shipped = tmp_path / "kit" / "notebooks"
    write(shipped, "00_a.ipynb", "v1")
    write(shipped, "01_b.ipynb", "v1")
    return tmp_path / "mine", shipped


def source(path):
    return nbformat.read(path, as_version=4).cells[0].source


def test_lessons_are_copied_once_and_the_shipped_ones_are_not_written_to(places):
    mine, shipped = places
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}
    assert fill(mine, shipped) == ["00_a: copied", "01_b: copied"]
    assert {path.name: path.read_bytes() for path in mine.glob("*.ipynb")} == before
    assert fill(mine, shipped) == []
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before


def test_a_newer_version_replaces_a_copy_that_was_only_run_and_keeps_it(places):
    mine, shipped = places
    fill(mine, shipped)
    write(mine, "00_a.ipynb", "v1", execution_count=4)
    write(shipped, "00_a.ipynb", "v2")
    said = fill(mine, shipped)
    assert len(said) == 1 and said[0].startswith("00_a: replaced by the newer version; yours was unchanged")
    assert source(mine / "00_a.ipynb") == "v2"
    assert json.loads(next((mine / "backups").glob("00_a.*.ipynb")).read_text())["cells"][0]["execution_count"] == 4


def test_a_newer_version_never_overwrites_an_answer(places):
    mine, shipped = places
    fill(mine, shipped)
    write(mine, "00_a.ipynb", "my answer")
    assert fill(mine, shipped) == []
    write(shipped, "00_a.ipynb", "v2")
    assert fill(mine, shipped) == [
        "00_a: you have written in yours, so the newer version lies beside it as 00_a.new.ipynb"]
    assert (source(mine / "00_a.ipynb"), source(mine / "00_a.new.ipynb")) == ("my answer", "v2")
    assert fill(mine, shipped) == []
    write(mine, "00_a.new.ipynb", "my answer in the new one")
    write(shipped, "00_a.ipynb", "v3")
    fill(mine, shipped)
    assert (source(mine / "00_a.ipynb"), source(mine / "00_a.new.ipynb")) == ("my answer", "v3")
    assert [source(path) for path in (mine / "backups").glob("00_a.new.*")] == ["my answer in the new one"]


@pytest.mark.parametrize("state", ["{", "[]", '{"copied": 3, "beside": {}}', '{"copied": {}}'])
def test_without_a_readable_record_every_lesson_counts_as_touched(places, state):
    mine, shipped = places
    fill(mine, shipped)
    (mine / ".ftkit" / "workspace.json").write_text(state)
    write(shipped, "00_a.ipynb", "v2")
    fill(mine, shipped)
    assert (source(mine / "00_a.ipynb"), source(mine / "00_a.new.ipynb")) == ("v1", "v2")


def test_a_lesson_is_reset_alone_and_the_answer_is_kept(places, monkeypatch):
    mine, shipped = places
    fill(mine, shipped)
    for name in ("00_a.ipynb", "01_b.ipynb"):
        write(mine, name, "my answer")
    (mine / ".ftkit" / "progress.json").write_text(json.dumps({"schema": 1, "lessons": {
        stem: {"1": {"attempts": 1, "passed": True}} for stem in ("00_a", "01_b")}}))
    first, second = reset(mine, "00", shipped), reset(mine, "00", shipped)
    assert first.startswith("00_a is as it shipped; your copy is kept as backups/00_a.") and first != second
    assert (source(mine / "00_a.ipynb"), source(mine / "01_b.ipynb")) == ("v1", "my answer")
    assert sorted(source(path) for path in (mine / "backups").iterdir()) == ["my answer", "v1"]
    assert list(json.loads((mine / ".ftkit" / "progress.json").read_text())["lessons"]) == ["01_b"]
    (mine / "00_a.ipynb").unlink()
    assert reset(mine, "00_a", shipped) == "00_a is as it shipped"


def test_a_file_that_is_no_notebook_is_never_lost_either(places):
    mine, shipped = places
    fill(mine, shipped)
    (mine / "00_a.ipynb").write_text("notes")
    write(shipped, "00_a.ipynb", "v2")
    fill(mine, shipped)
    assert (mine / "00_a.ipynb").read_text() == "notes" and answers_hash(mine / "00_a.ipynb")


def test_the_repository_is_never_a_workspace(places):
    mine, shipped = places
    (shipped.parent / "pyproject.toml").write_text("")
    for folder in (shipped, shipped / "deep", shipped.parent):
        with pytest.raises(Refusal, match="--folder must be a folder of your own, got .* never written to."):
            fill(folder, shipped)


def test_a_folder_without_lessons_is_refused(places, tmp_path):
    mine, _ = places
    with pytest.raises(Refusal, match=r"shipped must be a folder with lessons \(NN_stem.ipynb\), got 'empty'"):
        fill(mine, tmp_path / "empty")


def test_a_reset_of_no_workspace_no_lesson_or_a_stray_file_is_refused(places, tmp_path):
    mine, shipped = places
    with pytest.raises(Refusal, match="folder must be a workspace made by ftkit lab, got 'mine'. Open it once"):
        reset(mine, "00", shipped)
    fill(mine, shipped)
    with pytest.raises(Refusal, match="lesson must be one of 00_a, 01_b, got '00_aa'. Did you mean 00_a"):
        reset(mine, "00_aa", shipped)
    stray = write(tmp_path, "stray.ipynb", "x")
    with pytest.raises(Refusal, match="lesson must be one of 00_a, 01_b, got 'stray'"):
        reset(mine, str(stray), shipped)
