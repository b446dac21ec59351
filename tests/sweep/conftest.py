"""Functions to sweep, trivial ones, each in a file of its own."""

import json
import textwrap
from pathlib import Path

import pytest

HOW = '''
import os, re, signal, time

def f(x: int, how: str = "ok", seed: int = 0, out_dir: str = "") -> dict:
    """Does as it is told, and notes that it did."""
    folder = os.path.dirname(out_dir)
    with open(os.path.join(folder, "starts.txt"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("working on", x)
    if how == "raise":
        raise ValueError("no good")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "leave":
        raise SystemExit(4)
    if how == "eat":
        held = bytearray(2**33)
    if how == "hang":
        if os.fork() == 0:
            os.setsid()
            beat(os.path.join(folder, "child.txt"))
        beat(os.path.join(folder, "beat.txt"))
    if how == "spin":  # holds the interpreter's lock, so no thread of this process can end it
        re.match("(a+)+$", 50 * "a" + "b")
    if how == "once" and not os.path.exists(os.path.join(folder, "mended.txt")):
        raise OSError("not yet")
    return {"loss": float(10 * x + seed)}

def beat(path):
    while True:
        with open(path + ".new", "w") as file:
            file.write(f"{os.getpid()}")
        os.replace(path + ".new", path)
        time.sleep(0.02)
'''


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Writes a file with a function and goes to its folder; returns what names the function."""
    monkeypatch.chdir(tmp_path)

    def write(source: str = HOW, name: str = "f", file: str = "swept.py") -> str:
        Path(file).write_text(textwrap.dedent(source), "utf-8")
        return f"{file}:{name}"

    return write


def record(out: Path, **parameters: object) -> dict:
    """The record of the point with these parameters, among others."""
    found = [content for content in map(read, Path(out).glob("points/*/point.json"))
             if parameters.items() <= content["parameters"].items()]
    assert len(found) == 1, (parameters, found)
    return found[0]


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def starts(out: Path) -> dict[str, int]:
    """How often each point was started, by its folder's name."""
    return {path.parent.name: len(path.read_text().split()) for path in Path(out).glob("points/*/starts.txt")}
