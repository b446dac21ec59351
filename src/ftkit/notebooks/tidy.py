"""A notebook in its one canonical form: no outputs, no counts, no traces of a machine, cell ids that are words.

Knows nothing about what stands in the cells. Exercises and checks are keyed by cell ids, so an id that is words stays
what it is; only a missing one, or one made up by an editor, is named after the heading above it.
"""

import json
import re
from pathlib import Path

import nbformat

from ftkit.errors import refusal
from ftkit.files import write_atomic

KEPT_CELL_METADATA = ("tags", "exercise", "jupyter")
KEPT_NOTEBOOK_METADATA = ("ftkit",)
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
           "language_info": {"name": "python"}}
_WORDS = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MADE_UP = re.compile(r"[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_LONGEST_ID = 64


def tidied(text: str, name: str = "notebook") -> str:
    """The canonical text of a notebook given as text.

    Args:
        text: the content of an `.ipynb` file.
        name: the file's name, for the wording of a refusal.

    Raises:
        Refusal: it is no notebook of format 4, or two cells have the same id.
    """
    notebook = _parsed(text, name)
    taken = {cell["id"] for cell in notebook.cells if _is_words(cell.get("id", ""))}
    heading = "cell"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = _slug(cell.source) or heading
        if not _is_words(cell.get("id", "")):
            cell["id"] = _free(heading if cell.cell_type == "markdown" else f"{heading}-code", taken)
            taken.add(cell["id"])
        _strip_(cell)
    notebook.metadata = nbformat.from_dict({**{key: value for key, value in notebook.metadata.items()
                                               if key in KEPT_NOTEBOOK_METADATA}, **_KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def tidy_(path: str | Path, check: bool = False) -> bool:
    """Whether the notebook file had to change; it is rewritten unless `check`.

    Args:
        path: the `.ipynb` file.
        check: only look.

    Raises:
        Refusal: the file is missing, is no notebook of format 4, or two cells have the same id.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal("notebook", "an existing file", path.name, "Check the path.")
    before = path.read_bytes()
    after = tidied(before.decode("utf-8"), path.name).encode("utf-8")
    if after != before and not check:
        write_atomic(path, after)
    return after != before


def _parsed(text: str, name: str) -> nbformat.NotebookNode:
    try:
        notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    except Exception as error:  # nbformat raises several unrelated kinds
        raise refusal(name, "a notebook of format 4", f"{type(error).__name__}: {error}",
                      "Save it again from JupyterLab.") from error
    if notebook.get("nbformat") != 4 or "cells" not in notebook:
        raise refusal(name, "a notebook of format 4", f"format {notebook.get('nbformat')}",
                      "Save it again from JupyterLab.")
    _refuse_doubled_ids(json.loads(text)["cells"], name)  # nbformat has replaced them silently by now
    return notebook


def _refuse_doubled_ids(cells: list, name: str):
    seen = set()
    for identity in filter(None, (cell.get("id") for cell in cells)):
        if identity in seen:
            raise refusal(f"cell id in {name}", "used by one cell", identity, "Give one of the two another id.")
        seen.add(identity)


def _is_words(identity: str) -> bool:
    return bool(_WORDS.fullmatch(identity)) and not _MADE_UP.fullmatch(identity) and len(identity) <= _LONGEST_ID


def _slug(source: str) -> str:
    heading = re.search(r"^#+\s+(.+)$", source, re.MULTILINE)
    words = re.findall(r"[a-z][a-z0-9]*", heading[1].lower().replace("'", "")) if heading else []
    return "-".join(words[:4])


def _free(identity: str, taken: set[str]) -> str:
    number, free = 1, identity
    while free in taken or not _is_words(free):
        number += 1
        free = f"{identity[:_LONGEST_ID - 4]}-{number}"
    return free


def _strip_(cell):
    kept = {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA and value}
    if "jupyter" in kept:
        kept["jupyter"] = {key: True for key in ("source_hidden",) if kept["jupyter"].get(key)}
    cell.metadata = nbformat.from_dict({key: value for key, value in kept.items() if value})
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
