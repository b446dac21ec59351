"""Natural technical English: the docstrings of the Python standard library that builds the base.

Read from source with `ast`, never imported. Which ones are held out is decided by the object's name alone.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

HELD_OUT_ONE_IN = 40
LEAST_CHARACTERS, MOST_CHARACTERS = 60, 4000
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "__pycache__", "pydoc_data",
             "encodings", "ensurepip", "_pyrepl"}


def read(library: str | Path | None = None) -> dict[str, str]:
    """Docstrings by dotted object name, sorted by name, cleaned of their indentation; repeats are kept once.

    Args:
        library: the folder of the library's source; the running interpreter's standard library where none is given.
    """
    root = Path(library or sysconfig.get_path("stdlib"))
    found, seen = {}, set()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _LEFT_OUT & set(parts) or parts[0].startswith("config-"):
            continue
        module = ".".join(parts).removesuffix(".__init__")
        for name, text in _of_module(path, module):
            if text not in seen and LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS:
                seen.add(text)
                found[name] = text
    return dict(sorted(found.items()))


def held_out(name: str) -> bool:
    """Whether the docstring of the object of this name is kept from pretraining."""
    digest = hashlib.sha256(f"docstring {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def interpreter() -> str:
    """The version of the interpreter whose docstrings `read` reads."""
    return ".".join(map(str, sys.version_info[:3]))


def _of_module(path: Path, module: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    stack = [(module, tree)]
    while stack:
        name, node = stack.pop()
        text = ast.get_docstring(node, clean=False) if hasattr(node, "body") else None
        if text:
            yield name, inspect.cleandoc(text)
        for child in getattr(node, "body", []):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                stack.append((f"{name}.{child.name}", child))
