"""One notebook run strictly: checked before, kept whatever happens, skipped when done and unchanged.

Knows nothing about what the notebook teaches; its score is what the notebook itself displays.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import nbformat

import ftkit
from ftkit.errors import Refusal, refusal
from ftkit.files import sha256, write_atomic
from ftkit.notebooks.html import path_replacements, scrubbed, to_html
from ftkit.notebooks.kernel import execute
from ftkit.notebooks.parameters import check_parameters, declared_parameters

SCORE_KIND = "application/vnd.ftkit.score+json"
RESULT_TAG = "result"


@dataclass(frozen=True)
class Result:
    """What came of one notebook: its row in `results.json`."""

    name: str
    status: str  # "ok" or "failed"
    seconds: float
    peak_gib: float  # resident, of the kernel and its children
    score: str | None  # "N of M" exercises, where the notebook displays a score
    cell: str | None = None  # id of the cell that failed
    error: str | None = None
    skipped: bool = False  # done before and unchanged: this row is of the earlier run


def run_notebook(path: str | Path, executed: str | Path, parameters: dict | None = None, *,
                 cwd: str | Path | None = None, limit_s: float | None = None, warm: bool = False,
                 on_section: Callable[[str], None] | None = None) -> Result:
    """The result of running one notebook; its executed copy and its HTML page are written in any case.

    A run that is done and unchanged (same notebook, parameters, data files, package) is not repeated.

    Args:
        path: the notebook; it is not changed.
        executed: where the executed copy goes; the HTML page goes beside it.
        parameters: values instead of the declared defaults.
        cwd: the folder the notebook works in; the folder of `executed` by default.
        limit_s: seconds for the whole notebook; None for no limit.
        warm: fork the kernel from a process that has imported torch and the like; the outputs are the same.
        on_section: is called with each section's heading when the run comes to it.

    Raises:
        Refusal: the notebook is missing or misdeclared, a parameter is unknown, misspelt or of the wrong type, the
            limit is not positive. Nothing has run then.
    """
    path, executed = Path(path), Path(executed)
    if limit_s is not None and not limit_s > 0:
        raise refusal("limit_s", "more than 0 seconds, or None", limit_s)
    if path.absolute() == executed.absolute():
        raise refusal("executed", "another file than the notebook", executed.name, "Give a folder of its own.")
    parameters = check_parameters(declared_parameters(path), parameters or {}, path.stem)
    earlier, stamp = unchanged_result(path, executed, parameters), stamp_of(path, parameters)
    if earlier:
        return earlier
    cwd = Path(cwd or executed.parent)
    cwd.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    run = execute(notebook, parameters, cwd=cwd, limit_s=limit_s, warm=warm, on_section=on_section,
                  env={"FTKIT_HOME": str(cwd.absolute() / ".ftkit")})
    return _keep(run, run.notebook or notebook, path.stem, stamp, executed, _hidden(parameters, cwd))


def unchanged_result(path: str | Path, executed: str | Path, parameters: dict) -> Result | None:
    """The result of an earlier run that was done and is unchanged; None where it has to run."""
    parameters = check_parameters(declared_parameters(path), parameters, Path(path).stem)
    kept = read_result(executed)
    if not kept or kept[0].status != "ok" or not Path(executed).with_suffix(".html").is_file():
        return None
    return replace(kept[0], skipped=True) if kept[1] == stamp_of(path, parameters) else None


def read_result(executed: str | Path) -> tuple[Result, str] | None:
    """The result and the stamp kept in an executed copy; None where there is no copy that holds them."""
    try:
        kept = json.loads(Path(executed).read_text("utf-8"))["metadata"]["ftkit"]
        return Result(**kept["result"]), kept["stamp"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stamp_of(path: str | Path, parameters: dict) -> str:
    """A hash of all that a run depends on: notebook, parameters with the files they name, package, Python, torch."""
    digest = hashlib.sha256(Path(path).read_bytes() + parameters_hash(Path(path).stem, parameters).encode())
    package = Path(ftkit.__file__).parent
    files = [file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    digest.update(_package_hash(package, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)))
    digest.update(f"{platform.python_version()} {metadata.version('torch')}".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _package_hash(package: Path, files: tuple) -> bytes:
    """Read once, and again after one of its files was changed."""
    digest = hashlib.sha256()
    for file, *_ in files:
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.digest()


def parameters_hash(name: str, parameters: dict) -> str:
    """A hash of what a run was asked for: a name, the parameters, and the content of the files that they name."""
    digest = hashlib.sha256(name.encode())
    for parameter, value in sorted(parameters.items()):
        digest.update(f"{parameter}={value!r}{_content_hash(value)}".encode())
    return digest.hexdigest()


def result_text(executed: str | Path) -> str:
    """The plain text shown by the cells tagged `result` in an executed copy; empty where there is none."""
    notebook = nbformat.read(Path(executed), as_version=4)
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and RESULT_TAG in cell.metadata.get("tags", []):
            for output in cell.outputs:
                texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(text.rstrip() for text in texts if text.strip())


def _keep(run, notebook, name: str, stamp: str, executed: Path, hidden: dict) -> Result:
    copy = scrubbed(notebook, hidden)
    error = scrubbed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_raw_cell(run.error or "")]), hidden)
    result = Result(name, "failed" if run.error else "ok", round(run.elapsed_s, 2), round(run.peak_gib, 3),
                    _score(copy), run.cell, error.cells[0].source or None)
    copy.metadata["ftkit"] = nbformat.from_dict({"result": asdict(result), "stamp": stamp})
    write_atomic(executed.with_suffix(".html"), to_html(copy, name))
    write_atomic(executed, nbformat.writes(copy) + "\n")
    return result


def _score(notebook) -> str | None:
    shown = [output.data[SCORE_KIND] for cell in notebook.cells for output in cell.get("outputs", [])
             if SCORE_KIND in output.get("data", {})]
    return f"{shown[-1]['passed']} of {shown[-1]['total']}" if shown else None


def _hidden(parameters: dict, cwd: Path) -> dict[str, str]:
    files = [value for value in parameters.values() if isinstance(value, str) and os.path.isabs(value)]
    return {**path_replacements(sys.prefix, Path(ftkit.__file__).parents[1], Path.cwd()), **path_replacements(*files),
            **{path: "." for path in path_replacements(cwd)}}


def _content_hash(value: object) -> str:
    try:
        return sha256(value) if isinstance(value, str) and value and Path(value).is_file() else ""
    except OSError:  # a text too long or too odd to be a path
        return ""


def failed(name: str, error: Refusal) -> Result:
    """The row of a notebook that was refused before it ran."""
    return Result(name, "failed", 0.0, 0.0, None, None, f"{type(error).__name__}: {error}")
