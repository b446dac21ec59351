"""What a notebook declares in its parameters cell, and whether given values fit. Knows nothing about running it.

papermill reads the cell line by line with a pattern and, where it fails to, goes on with the default. So the cell is
held to a form that papermill and Python read alike: one `name: type = literal  # unit` a line.
"""

import ast
import io
import math
import os
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import nearest, refusal, unknown
from ftkit.files import read_json

SCALES = ("tiny", "small", "full")
EVERY_NOTEBOOK = ("scale", "seed", "out_dir")
_FILES = ("data", "exam", "model")  # parameters whose values may be a file or folder of the caller's
_DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".py")
TYPES = {"int": int, "float": float, "bool": bool, "str": str}
_KIND = {"int": "a whole number (int)", "float": "a finite number (float)", "bool": "True or False (bool)",
         "str": "text (str)"}
_FORM = "Write one `name: type = literal  # unit` a line."


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: its name, its type's name, its default and the comment beside it."""

    name: str
    type: str
    default: object
    comment: str = ""


def declared_parameters(path: str | Path) -> dict[str, Parameter]:
    """The parameters that the notebook file declares, in order.

    Args:
        path: the `.ipynb` file.

    Raises:
        Refusal: no cell or more than one is tagged `parameters`, or the cell is not one literal a line.
    """
    path = Path(path)
    notebook = read_json(path)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise refusal(path.name, "a notebook of format 4 (an object with cells)", type(notebook).__name__,
                      "Save it again from JupyterLab.")
    return declared_in(_tagged_source(notebook["cells"], path.name), path.name)


def declared_in(source: str, where: str = "the parameters cell") -> dict[str, Parameter]:
    """The parameters declared in the source of a parameters cell.

    Args:
        source: the text of the cell.
        where: the notebook's name, for the wording of a refusal.

    Raises:
        Refusal: a line that papermill would misread, that is no typed literal, or that repeats a name.

    Example:
        >>> declared_in("rank: int = 8  # directions")["rank"]
        Parameter(name='rank', type='int', default=8, comment='directions')
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise refusal(f"parameters of {where}, line {error.lineno}", "Python that parses", error.text or source,
                      _FORM) from error
    comments, declared = _comments(source, where), {}
    for statement in tree.body:
        parameter = _parameter(statement, source, where, comments.get(statement.lineno, ""))
        if parameter.name in declared:
            raise refusal(f"parameter {parameter.name} of {where}", "declared once", "twice", "Delete one of the two.")
        declared[parameter.name] = parameter
    return declared


def check_parameters(declared: Mapping[str, Parameter], given: Mapping[str, object],
                     where: str = "this notebook") -> dict[str, object]:
    """The given values, each known to the notebook and of its declared type.

    Args:
        declared: what the notebook declares.
        given: what the run is to use instead of the defaults.
        where: the notebook's name, for the wording of a refusal.

    Returns:
        The values, with whole numbers turned into floats where a float is declared.

    Raises:
        Refusal: a name that is not declared, or a value of another type.
    """
    checked = {}
    for name, value in given.items():
        if name not in declared:
            raise unknown(f"parameter of {where}", name, declared)
        checked[name] = _checked(declared[name], value)
    return checked


def parse_parameters(declared: Mapping[str, Parameter], pairs: Iterable[str],
                     where: str = "this notebook") -> dict[str, object]:
    """Values from `name=text` pairs as typed on a command line, read as the declared type.

    Raises:
        Refusal: a pair without `=`, a name given twice or not declared, or text that is not of the declared type.

    Example:
        >>> parse_parameters(declared_in("rank: int = 8"), ["rank=4"])
        {'rank': 4}
    """
    given = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise refusal("-p", "name=value", pair, _did_you_mean(name, declared))
        if name in given:
            raise refusal(f"-p {name}", "given once", "twice", "Keep one of the two.")
        if name not in declared:
            raise unknown(f"parameter of {where}", name, declared)
        given[name] = _parsed(declared[name], text)
    return check_parameters(declared, given, where)


def located(name: str, value: object) -> object:
    """The value with a file or folder of the caller's made absolute: the notebook works in another folder.

    Raises:
        Refusal: it looks like a file of data, and there is none; the sentence offers the nearest names.
    """
    if name not in _FILES or not isinstance(value, str) or not value:
        return value
    path, colon, function = value, "", ""
    if not os.path.exists(path) and ".py:" in value:
        path, colon, function = value.rpartition(":")
    if os.path.exists(path):
        return os.path.abspath(path) + colon + function
    if Path(path).suffix.lower() in _DATA_SUFFIXES:
        raise refusal(name, "an existing file or folder, or a name", value, near_files(Path(path)))
    return value


def near_files(path: Path) -> str:
    """A sentence that offers the names beside a path which look most like it."""
    folder = path.parent
    near = nearest(path.name, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else []
    return f"Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else "Check the path."


def _tagged_source(cells: list, where: str) -> str:
    tags = [tag for cell in cells for tag in cell.get("metadata", {}).get("tags", [])]
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])
              and cell.get("cell_type") == "code"]
    if not tagged:
        near = [tag for tag in nearest("parameters", tags) if tag != "injected-parameters"]
        hint = f"A cell is tagged {near[0]!r}: write 'parameters'." if near else \
            "Tag the code cell that holds the parameters."
        raise refusal(where, "a notebook with one code cell tagged 'parameters'", "none", hint)
    if len(tagged) > 1:
        ids = ", ".join(str(cell.get("id", "without id")) for cell in tagged)
        raise refusal(where, "a notebook with one code cell tagged 'parameters'", f"{len(tagged)}: {ids}",
                      "Keep the tag on one cell.")
    source = tagged[0].get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _comments(source: str, where: str) -> dict[int, str]:
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ").rstrip()
        elif token.type == tokenize.STRING and "#" in token.string:
            raise refusal(f"parameters of {where}, line {token.start[0]}", "without # inside the text", token.string,
                          "papermill takes it for a comment: choose another character.")
    return comments


def _parameter(statement: ast.stmt, source: str, where: str, comment: str) -> Parameter:
    line = source.splitlines()[statement.lineno - 1]
    place = f"parameters of {where}, line {statement.lineno}"
    if statement.lineno != statement.end_lineno:
        raise refusal(place, "one line", f"{statement.end_lineno - statement.lineno + 1} lines", _FORM)
    if line.count("=") > 1:
        raise refusal(place, "a line with one =", line, "papermill skips such a line; reword it, its comment too.")
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name) or not statement.value:
        raise refusal(place, "a typed literal", line, _FORM)
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if kind not in TYPES:
        raise unknown(f"type of {name} in {where}", kind, TYPES,
                      "papermill hides any other: use an empty text or 0 for 'not given'.")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError as error:
        remedy = "A derived value goes stale when papermill sets its source: move it to the config cell."
        raise refusal(f"{place}: {name}", "a literal", ast.unparse(statement.value), remedy) from error
    return Parameter(name, kind, _checked(Parameter(name, kind, None), default), comment)


def _checked(parameter: Parameter, value: object) -> object:
    kind = TYPES[parameter.type]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raw = " With plain papermill use -r to give text that looks like a number." \
            if kind is str and isinstance(value, int | float) else ""
        raise refusal(parameter.name, _KIND[parameter.type], value, _default_words(parameter) + raw)
    if parameter.name == "scale" and value not in SCALES:
        raise unknown("scale", value, SCALES)
    return value


def _parsed(parameter: Parameter, text: str) -> object:
    if parameter.type == "str":
        return text
    if parameter.type == "bool":
        words = {"true": True, "false": False}
        if text.strip().lower() not in words:
            raise refusal(parameter.name, _KIND["bool"], text, _default_words(parameter))
        return words[text.strip().lower()]
    try:
        return TYPES[parameter.type](text)
    except ValueError as error:
        raise refusal(parameter.name, _KIND[parameter.type], text, _default_words(parameter)) from error


def _default_words(parameter: Parameter) -> str:
    return "" if parameter.default is None else f"Its default is {parameter.default!r}."


def _did_you_mean(name: str, declared: Mapping[str, Parameter]) -> str:
    near = nearest(name, declared) or list(declared)[:1]
    return f"Write for example -p {near[0]}={declared[near[0]].default}." if near else ""
