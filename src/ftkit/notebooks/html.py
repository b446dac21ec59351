"""Executed notebooks without traces of who ran them and where, and as HTML. Knows nothing about running them.

Pictures are left as they are: a short user name can occur in the letters of an encoded picture by chance.
"""

import ast
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from html import escape
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import clean_html

from ftkit.scrub import scrub

_DATA_URI = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+)")
_NO_DESCRIPTION = "No description has been provided for this image"  # nbconvert's words
_MATH = re.compile(r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$"
                   r"|(?<![\\$])\$(?=\S)(?P<inline>[^$`]+?)(?<=\S)\$(?!\d)", re.DOTALL)
_PLACE = "equation-{}-of-this-page"
_KEPT_BY_CELL = ("duration", "status", "exception")


def to_html(notebook: nbformat.NotebookNode, title: str) -> str:
    """The notebook as one HTML page with its pictures and its equations inside: it needs no network to be read.

    Args:
        notebook: an executed and scrubbed notebook.
        title: the page's title.
    """
    notebook, equations = _without_equations(notebook)
    html, _ = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    html = re.sub(_PLACE.format("(\\d+)"), lambda match: equations[int(match[1])], html)
    found = iter(_descriptions(notebook))
    return re.sub(_NO_DESCRIPTION, lambda match: escape(next(found, match.group())), html)


@cache
def _exporter() -> HTMLExporter:
    """One for all pages: it reads its templates when it is first used."""
    log = logging.getLogger(__name__)
    log.setLevel(logging.ERROR)  # nbconvert warns of pictures without a description: they get theirs above
    return HTMLExporter(template_name="lab", log=log, filters={"clean_html": _clean_html})


@lru_cache(maxsize=512)
def _clean_html(code: str) -> str:
    """nbconvert's filter, the slowest of all; most cells are the same in every run of a notebook."""
    return clean_html(code)


def _without_equations(notebook: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, list[str]]:
    """A copy with places in the stead of equations, and the equations as MathML, which browsers show by themselves.

    nbconvert leaves LaTeX to MathJax, a program that its pages load from the network.
    """
    copy, equations = nbformat.from_dict(notebook), []

    def place(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        block = match["block"] is not None
        try:
            equations.append(convert(match["block"] or match["inline"], display="block" if block else "inline"))
        except Exception:  # LaTeX that it does not know stays what it is
            return match.group()
        return _PLACE.format(len(equations) - 1)

    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _MATH.sub(place, cell.source)
    return copy, equations


def _descriptions(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """For each picture what its cell gives to `plots.caption`, for readers who don't see it."""
    for cell in notebook.cells:
        pictures = sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        words = _captions(cell.source) if pictures else []
        yield from [*words[:pictures], *[f"A picture, made by the cell {cell.id}"] * (pictures - len(words))]


def _captions(source: str) -> list[str]:
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except SyntaxError:  # a cell with a line for IPython alone
        return []
    return [call.args[-1].value for call in calls if getattr(call.func, "attr", "") == "caption"
            and call.args and isinstance(call.args[-1], ast.Constant) and isinstance(call.args[-1].value, str)]


def scrubbed(notebook: nbformat.NotebookNode, replacements: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """A copy of the notebook without tokens, host names, user names and paths of this machine.

    Args:
        notebook: an executed notebook.
        replacements: text to replace beforehand, such as the path of a data file by the file's name.
    """
    copy = nbformat.from_dict(notebook)
    pairs = sorted((replacements or {}).items(), key=lambda pair: -len(pair[0]))
    copy.metadata = nbformat.from_dict(_clean({key: value for key, value in copy.metadata.items()
                                               if key != "papermill"}, pairs))
    parameters = notebook.metadata.get("papermill", {}).get("parameters", {})
    copy.metadata["papermill"] = nbformat.from_dict({"parameters": scrub(_clean(dict(parameters), pairs))})
    for cell in copy.cells:
        cell.source = _clean(cell.source, pairs)
        if "papermill" in cell.metadata:
            cell.metadata["papermill"] = {key: value for key, value in cell.metadata["papermill"].items()
                                          if key in _KEPT_BY_CELL}
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(_clean_output(output, pairs)) for output in _joined(cell.outputs)]
    return copy


def path_replacements(*folders: str | Path) -> dict[str, str]:
    """Absolute paths of folders, each to be replaced by its last part, in every spelling a traceback may use."""
    spellings = {}
    for folder in folders:
        for form in {str(folder), str(Path(folder).absolute()), str(Path(folder).resolve())}:
            if len(Path(form).parts) > 1:
                spellings[form] = spellings[form.replace("\\", "\\\\")] = Path(form).name
    return spellings


def _joined(outputs: Sequence[Mapping]) -> list[dict]:
    """Outputs with what was printed in one piece again: a kernel may cut it anywhere, in the middle of a path too."""
    joined = []
    for output in map(dict, outputs):
        if joined and output["output_type"] == "stream" and joined[-1].get("name") == output["name"]:
            joined[-1]["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def _clean_output(output: dict, pairs: list) -> dict:
    for key in ("text", "evalue", "ename", "traceback"):
        if key in output:
            output[key] = _clean(output[key], pairs)
    if "data" in output:
        output["data"] = {kind: value if _is_picture(kind) else _clean(value, pairs)
                          for kind, value in output["data"].items()}
    return output


def _is_picture(kind: str) -> bool:
    return kind == "application/pdf" or (kind.startswith("image/") and kind != "image/svg+xml")


def _clean(value: object, pairs: list) -> object:
    if isinstance(value, Mapping):
        return {key: _clean(item, pairs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, pairs) for item in value]
    if not isinstance(value, str):
        return value
    pieces = _DATA_URI.split(value)
    return "".join(piece if index % 2 else _clean_text(piece, pairs) for index, piece in enumerate(pieces))


def _clean_text(text: str, pairs: list) -> str:
    for path, name in pairs:
        text = text.replace(path, name)
    return scrub(text)
