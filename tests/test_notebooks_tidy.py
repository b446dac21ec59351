"""The canonical form of a notebook file."""

import json

import nbformat
import pytest

from ftkit.errors import Refusal
from ftkit.notebooks.tidy import tidied, tidy_


def messy(*identities):
    cells = [nbformat.v4.new_markdown_cell("# The Dial's turn, 表 and more words\ntext"),
             nbformat.v4.new_code_cell("print(1)  ", execution_count=3, outputs=[
                 nbformat.v4.new_output("stream", text="1\n")]),
             nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["exercise"], "exercise": "00.1", "scrolled": True,
                                                          "execution": {"iopub": "2026"}})]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={
        "kernelspec": {"name": "my-venv", "display_name": "mine", "language": "python"}, "ftkit": {"minutes": 10},
        "language_info": {"name": "python", "version": "3.11.7"}, "widgets": {}})
    for cell, identity in zip(notebook.cells, identities, strict=False):
        cell["id"] = identity
    return json.dumps(notebook)


def test_outputs_counts_and_traces_of_the_machine_go_and_the_sources_stay():
    notebook = json.loads(tidied(messy()))
    assert [cell.get("outputs", []) for cell in notebook["cells"]] == [[], [], []]
    assert [cell.get("execution_count") for cell in notebook["cells"]] == [None, None, None]
    assert notebook["cells"][1]["source"] == ["print(1)  "]
    assert notebook["cells"][2]["metadata"] == {"tags": ["exercise"], "exercise": "00.1"}
    assert notebook["metadata"] == {
        "ftkit": {"minutes": 10}, "language_info": {"name": "python"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def test_an_id_of_words_stays_and_one_made_up_by_an_editor_is_named_after_the_heading():
    ids = [cell["id"] for cell in json.loads(tidied(messy("0f3a9c1e", "predict-the-loss"), "a.ipynb"))["cells"]]
    assert ids == ["the-dials-turn-and", "predict-the-loss", "the-dials-turn-and-code"]
    made_up = messy("3f2a7a4e-0a0b-4c0d-8e0f-001122334455", "deadbeef")
    ids = [cell["id"] for cell in json.loads(tidied(made_up))["cells"]]
    assert ids == ["the-dials-turn-and", "the-dials-turn-and-code", "the-dials-turn-and-code-2"]


def test_tidying_twice_changes_nothing_more():
    once = tidied(messy())
    assert tidied(once) == once
    nbformat.validate(nbformat.reads(once, as_version=4))


def test_a_check_says_what_would_change_and_writes_nothing(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(messy(), "utf-8")
    before = path.read_bytes()
    assert tidy_(path, check=True) and path.read_bytes() == before
    assert tidy_(path) and not tidy_(path) and not tidy_(path, check=True)


@pytest.mark.parametrize(("text", "words"), [
    ("{", "a.ipynb must be a notebook of format 4"),
    ("[]", "a.ipynb must be a notebook of format 4"),
    ('{"cells": []}', "a.ipynb must be a notebook of format 4"),
    ('{"nbformat": 3, "nbformat_minor": 0, "worksheets": [], "metadata": {}}', "got 'format 3'"),
    (messy("same", "same"), "cell id in a.ipynb must be used by one cell, got 'same'. Give one of the two another id."),
])
def test_what_is_no_notebook_or_has_two_cells_of_one_id_is_refused(text, words):
    with pytest.raises(Refusal, match=words):
        tidied(text, "a.ipynb")


def test_a_missing_notebook_is_refused(tmp_path):
    with pytest.raises(Refusal, match="notebook must be an existing file, got 'none.ipynb'"):
        tidy_(tmp_path / "none.ipynb")
