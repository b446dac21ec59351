"""The first line of a lesson's config cell: what was declared, what papermill injected, and whether they fit.

Knows nothing about what the lesson does. Plain papermill only warns about a misspelt parameter or a lost tag and goes
on with the defaults. The kernel can't see tags, but it keeps the cells it ran (`In`): the parameters cell is the one
that declares scale, seed and out_dir, and papermill's begins with `# Parameters`. So `start` belongs *behind* the
parameters cell, where the injected one has run and nothing else has.
"""

import ast
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftkit.errors import refusal
from ftkit.notebooks.parameters import EVERY_NOTEBOOK, TYPES, Parameter, check_parameters, declared_in


@dataclass(frozen=True)
class Lesson:
    """What a notebook knows about its run: lesson, dial, seed, where its files go, all parameters."""

    stem: str
    scale: str
    seed: int
    out_dir: Path
    parameters: dict = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """The folder of one run of this lesson, under `out_dir`; not made here."""
        return self.out_dir / name


def start(stem: str, namespace: Mapping[str, object]) -> Lesson:
    """The lesson's context; prints one line that says at which scale, on what and where it runs.

    Args:
        stem: the lesson, as in "00_start_here".
        namespace: the notebook's `globals()`.

    Raises:
        Refusal: the parameters cell is missing, misread by papermill, or overwritten; an injected parameter is
            unknown, misspelt or of another type.

    Example:
        >>> start("00_start_here", {"scale": "tiny", "seed": 0, "out_dir": "."}).scale
        00_start_here: scale tiny, seed 0, files go to this folder
        'tiny'
    """
    if not re.fullmatch(r"\d\d_\w+", stem):
        raise refusal("stem", "a lesson's name such as 00_start_here", stem)
    missing = [name for name in EVERY_NOTEBOOK if name not in namespace]
    if missing:
        raise refusal("parameters", f"declared before start(): {', '.join(EVERY_NOTEBOOK)}",
                      f"no {', '.join(missing)}", "Run the parameters cell first.")
    _quiet()
    values = _declared_values(list(namespace.get("In", [])), namespace)
    out_dir = Path(values["out_dir"])
    out_dir.mkdir(parents=True, exist_ok=True)
    model = f", model {Path(values['model']).name}" if values.get("model") else ""
    where = "this folder" if out_dir == Path(".") else out_dir.as_posix() if not out_dir.is_absolute() else out_dir.name
    print(f"{stem}: scale {values['scale']}, seed {values['seed']}{model}, files go to {where}")
    return Lesson(stem, values["scale"], values["seed"], out_dir, values)


def _quiet() -> None:
    """Keeps out of a lesson what other packages say about themselves, and shows warnings without paths."""
    warnings.formatwarning = _warning_without_path
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # peft, of transformers
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # that a faster kernel could be downloaded


def _declared_values(history: Sequence[str], namespace: Mapping[str, object]) -> dict[str, object]:
    declaring = [index for index, source in enumerate(history) if _declares(source)]
    if not declaring:  # no notebook: the cells are run by other means, with nothing injected
        kinds = {"scale": str, "seed": int, "out_dir": str, **namespace.get("__annotations__", {})}
        plain = {name: Parameter(name, kind.__name__, None) for name, kind in kinds.items() if kind in TYPES.values()}
        return check_parameters(plain, {name: namespace[name] for name in plain})
    declared = declared_in(history[declaring[-1]])
    injecting = [index for index, source in enumerate(history) if source.startswith("# Parameters\n")]
    if injecting:
        if injecting[0] < declaring[0]:
            raise refusal("the parameters cell", "tagged 'parameters'", "no such tag",
                          "papermill put its values on top, where the defaults overwrite them.")
        if injecting[-1] < declaring[-1]:
            raise refusal("parameters", "declared before papermill's values", "declared after them, too",
                          "Run papermill's cell again, or keep the tag on one cell.")
        _check_injected(declared, _assigned(history[injecting[-1]]), namespace)
    return check_parameters(declared, {name: namespace[name] for name in declared})


def _check_injected(declared: Mapping[str, Parameter], injected: Mapping[str, object], namespace: Mapping):
    check_parameters(declared, injected)
    for name, value in injected.items():
        if namespace[name] != value:
            raise refusal(name, f"{value!r} as papermill set it", namespace[name],
                          "A cell in between overwrites it: delete that line.")


def _declares(source: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    names = [getattr(node.target, "id", "") for node in body if isinstance(node, ast.AnnAssign)]
    return set(EVERY_NOTEBOOK) <= set(names)


def _assigned(source: str) -> dict[str, object]:
    values = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = ast.unparse(node.value)
            number = re.fullmatch(r"float\('(nan|-?inf)'\)", text)
            values[node.targets[0].id] = float(number[1]) if number else ast.literal_eval(node.value)
    return values


def _warning_without_path(message, category, filename, lineno, line=None):
    return f"{category.__name__}: {message}\n"
