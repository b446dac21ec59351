"""A notebook with its exercises answered, to be run by tests. Knows nothing about how it is run.

A cell with an exercise is tagged `exercise` and has the metadata `{"exercise": "00.1"}`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import nbformat

from ftkit.course.catalogue import find_check, solution_source
from ftkit.course.definitions import definition_span
from ftkit.errors import refusal

NEEDED_TAGS = ("setup", "parameters", "config", "exercise", "check", "agree")


def solved_notebook(path: str | Path, only: Collection[str] | None = None,
                    answers: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """The notebook with the official answer, or another, in the place of each stub; the file is not changed.

    Args:
        path: the notebook.
        only: tags; keep the code cells that have one of them, such as `NEEDED_TAGS`; None keeps every cell.
        answers: sources by exercise id, to use instead of the official ones.

    Raises:
        Refusal: an exercise cell that names no exercise, an unknown one, or that does not define its answer.
    """
    path = Path(path)
    notebook = nbformat.read(path, as_version=4)
    for cell in exercise_cells(notebook, path.name):
        exercise = cell.metadata["exercise"]
        name = find_check(exercise)[1].answer
        span = definition_span(cell.source, name)
        if span is None:
            raise refusal(f"exercise cell {exercise} of {path.name}", f"a cell that defines {name}", "no definition")
        lines = cell.source.splitlines()
        source = (answers or {}).get(exercise) or solution_source(exercise)
        cell.source = "\n".join([*lines[:span[0]], source.rstrip(), *lines[span[1]:]])
    if only is not None:
        notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"
                          and set(only) & set(cell.metadata.get("tags", []))]
    return notebook


def exercise_cells(notebook: nbformat.NotebookNode, name: str = "notebook") -> list[nbformat.NotebookNode]:
    """The cells that hold an exercise's stub.

    Raises:
        Refusal: one is tagged and names no exercise, or names one and is not tagged.
    """
    cells = []
    for cell in notebook.cells:
        tagged, named = "exercise" in cell.metadata.get("tags", []), "exercise" in cell.metadata
        if tagged != named:
            raise refusal(f"cell {cell.get('id', '')} of {name}", "tagged 'exercise' with metadata "
                          "{'exercise': 'NN.n'}", "only one of the two")
        if tagged:
            cells.append(cell)
    return cells
