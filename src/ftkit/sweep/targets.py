"""What is swept: a notebook or a function, and the parameters it takes, read without running either.

Knows nothing about grids or processes. A function's parameters are those of its `def`; annotations and defaults decide
their types.
"""

import ast
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import refusal, unknown
from ftkit.files import sha256
from ftkit.notebooks.parameters import TYPES, Parameter, check_parameters, declared_parameters, parse_parameters

SEED, OUT_DIR = "seed", "out_dir"
NOTEBOOK, FUNCTION = "notebook", "function"
NUMBER = "number"  # of a parameter without an annotation whose default is whole: dropout=0 takes 0.1 as well
_HEAVY = {"torch", "transformers", "peft", "ftkit"}
_FUNCTION_FORM = "Write module:function or file.py:function."


@dataclass(frozen=True)
class Target:
    """A notebook or a function, and what it takes.

    Args:
        kind: "notebook" or "function".
        name: how a sweep's folder calls it; holds no path of this machine.
        place: the notebook's file, or what stands before the colon: a module's name or a file.
        function: its name; empty for a notebook.
        declared: by name; the type is one of `TYPES`, `NUMBER`, or "any".
        required: parameters without a default.
        is_open: whether it takes other names, too (`**settings`).
        asks: the name of a function beside it that refuses what it would not take, see `find_target`.
        is_heavy: whether it needs torch or what goes with it, by the imports in its file.
        file: that it stands in.
    """

    kind: str
    name: str
    place: str
    function: str
    declared: Mapping[str, Parameter]
    required: tuple[str, ...] = ()
    is_open: bool = False
    asks: str = ""
    is_heavy: bool = True
    file: str = ""

    @property
    def source(self) -> str:
        """A hash of its file as it is now, of a notebook's code alone; what the file imports is not in it."""
        try:
            raw = Path(self.file).read_bytes()
            if self.kind == NOTEBOOK:
                cells = json.loads(raw)["cells"]
                raw = json.dumps([cell["source"] for cell in cells if cell["cell_type"] == "code"]).encode()
        except (OSError, ValueError, KeyError, TypeError):  # gone, or being saved
            return ""
        return sha256(raw)[:12]

    @property
    def takes_seed(self) -> bool:
        """Whether seeds can be given to it."""
        return SEED in self.declared or self.is_open

    def parse(self, name: str, text: str) -> object:
        """The value that a text on a command line stands for.

        Raises:
            Refusal: an unknown name, or text that is not of the declared type.
        """
        self.check_name(name)
        parameter = self.declared.get(name)
        if parameter is not None and parameter.type in TYPES:
            return parse_parameters({name: parameter}, [f"{name}={text}"], self.name)[name]
        return literal(text)

    def check_name(self, name: str) -> None:
        """Nothing, if the target takes a parameter of this name.

        Raises:
            Refusal: it takes none of that name, or the sweep itself gives it.
        """
        if name == OUT_DIR:
            raise refusal(OUT_DIR, "left to the sweep, which gives each point a folder", "a value",
                          "Choose the sweep's folder with --out.")
        if name not in self.declared and not self.is_open:
            raise unknown(f"parameter of {self.name}", name, [one for one in self.declared if one != OUT_DIR])

    def check(self, parameters: Mapping) -> dict:
        """The parameters of one point, each known and of its type.

        Raises:
            Refusal: an unknown name, a value of another type, or a parameter without a default that is missing.
        """
        checked = {}
        for name, value in parameters.items():
            self.check_name(name)
            parameter = self.declared.get(name)
            typed = parameter is not None and parameter.type in TYPES
            value = _plain(name, value)
            if parameter is not None and parameter.type == NUMBER and not _is_number(value):
                raise refusal(name, "a finite number", value, f"Its default is {parameter.default!r}.")
            checked[name] = check_parameters({name: parameter}, {name: value}, self.name)[name] if typed else value
        missing = [name for name in self.required if name not in parameters]
        if missing:
            raise refusal(f"parameter {missing[0]} of {self.name}", "given: it has no default", "nothing",
                          f"Add --grid {missing[0]}=VALUE or -p {missing[0]}=VALUE.")
        return checked


def find_target(asked: str | Callable) -> Target:
    """The target that a text names: a lesson's stem or number, a notebook file, `module:function`, `file.py:function`.

    A function itself will do, too, if it stands in a file. Where a function NAME takes any name (`**settings`), a
    function `check_NAME` beside it, called with the same parameters, may refuse those that NAME would not take.

    Raises:
        Refusal: there is no such thing, or it is misdeclared; nothing of it has run.
    """
    text = asked if isinstance(asked, str) else _place_of(asked)
    place, colon, function = text.rpartition(":")
    if colon and not text.endswith(".ipynb"):
        return _function_target(place, function)
    if text.endswith(".py"):
        raise refusal("target", "a notebook or a function", text, f"Write {text}:FUNCTION.")
    from ftkit.notebooks.course import find_lesson, notebooks_folder  # papermill with them: not for a function

    is_file = text.endswith(".ipynb") and Path(text).is_file()
    path = Path(text) if is_file else find_lesson(text, notebooks_folder())
    return Target(NOTEBOOK, path.stem, str(path.absolute()), "", declared_parameters(path), file=str(path.absolute()))


def literal(text: str) -> object:
    """The value that a text without a declared type stands for: JSON, True, False, or the text itself.

    Example:
        >>> literal("1e-4"), literal("q_proj"), literal("True")
        (0.0001, 'q_proj', True)
    """
    if text in ("True", "False"):
        return text == "True"
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _place_of(function: Callable) -> str:
    """How a text would name a function: by its module, or by the file of the script that it stands in."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module == "__main__":
        module = getattr(sys.modules["__main__"], "__file__", None)
    if not module or not name.isidentifier():
        raise refusal("target", "a function that stands in a file", name or function,
                      "Other processes have to find it: write it into a file of its own and give file.py:function.")
    return f"{module}:{name}"


def _function_target(place: str, name: str) -> Target:
    is_file = place.endswith(".py")
    source = Path(place) if is_file else _module_source(place)
    if not source.is_file():
        raise refusal("target", "an existing file with a function", place, "Check the path.")
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise refusal(source.name, "Python that parses", str(error), "Mend it first.") from error
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        raise unknown(f"function of {place}", name, functions, "It must stand in the file itself, by def.")
    shown = f"{source.name if is_file else place}:{name}"
    declared, required = _signature(functions[name].args, shown)
    return Target(FUNCTION, shown, str(source.absolute()) if is_file else place, name, declared, required,
                  functions[name].args.kwarg is not None, check if (check := f"check_{name}") in functions else "",
                  _is_heavy(tree), str(source.absolute()))


def _module_source(module: str) -> Path:
    """The file of a module that can be imported from here, found without importing the module itself."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        raise refusal("target", "a module that can be imported, and a function", module,
                      f"{type(error).__name__}: {error}. {_FUNCTION_FORM}") from error
    finally:
        sys.path.remove(here)
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise refusal("target", "a module that can be imported, and a function", module, _FUNCTION_FORM)
    return Path(found.origin)


def _is_heavy(tree: ast.Module) -> bool:
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] in _HEAVY and not name.startswith("ftkit.sweep") for name in named)


def _signature(arguments: ast.arguments, where: str) -> tuple[dict[str, Parameter], tuple[str, ...]]:
    """The parameters that can be given by name, and those without a default."""
    if arguments.posonlyargs:
        raise refusal(where, "a function whose parameters can be given by name",
                      arguments.posonlyargs[0].arg, "Take the / out of its def.")
    places = [*arguments.args, *arguments.kwonlyargs]
    defaults = [*([None] * (len(arguments.args) - len(arguments.defaults))), *arguments.defaults,
                *arguments.kw_defaults]
    declared, required = {}, []
    for place, default in zip(places, defaults, strict=True):
        value = _literal_of(default)
        usual = NUMBER if type(value) is int and place.arg != SEED else type(value).__name__
        kind = ast.unparse(place.annotation).strip("'\"") if place.annotation else usual
        declared[place.arg] = Parameter(place.arg, kind if kind in (*TYPES, NUMBER) else "any", value)
        if default is None and place.arg != OUT_DIR:
            required.append(place.arg)
    return declared, tuple(one for one in required if one != SEED)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(name: str, value: object) -> object:
    """The value as a record can hold it: numpy's numbers become Python's, a path its text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item") and not getattr(value, "shape", None):
        value = value.item()
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise refusal(name, "what JSON can hold: a number, text, a list or an object of these", value) from error
    return value


def _literal_of(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
