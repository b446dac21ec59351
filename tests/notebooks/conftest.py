"""Each lesson run once for the whole suite: as shipped, at scale tiny, in an empty folder, with the network cut off."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftkit.notebooks.course import TINY_LIMIT_S
from ftkit.notebooks.run import Result, run_notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TOKEN = "hf_" + "Planted0" * 4  # stands in an environment variable while lessons run; none may show it

# Every Python process imports a module of this name when it starts. An audit hook sees what any library does through
# Python's sockets, and nothing can take it out.
SITECUSTOMIZE = '''
import errno
import sys

NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
ADDRESSES = ("socket.connect", "socket.sendto", "socket.sendmsg")


def only_loopback(event, arguments):
    if event in NAMES:
        host = arguments[0]
    elif event in ADDRESSES and isinstance(arguments[1], tuple):  # a local socket's address is no tuple
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and host not in ("", "localhost", "::1") and not host.startswith("127."):
        raise OSError(errno.ENETUNREACH, f"the network is cut off: {event} {host}")


sys.addaudithook(only_loopback)
'''


@dataclass(frozen=True)
class Shipped:
    """What came of a lesson as it shipped."""

    result: Result
    executed: Path
    folder: Path  # where it worked
    token: str  # stood in its environment


@pytest.fixture(scope="session")
def cut_off(tmp_path_factory) -> dict[str, str]:
    """Environment variables for processes that reach this machine and no other."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE, "utf-8")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}  # one on this machine leads out
    return {"PYTHONPATH": path, **proxies}


@pytest.fixture(scope="session")
def as_shipped(tmp_path_factory, cut_off) -> Callable[[Path], Shipped]:
    """A function from a lesson's notebook to what came of it; it runs at the first call only."""
    done: dict[str, Shipped] = {}

    def run(path: Path) -> Shipped:
        if path.stem not in done:
            build = tmp_path_factory.mktemp(path.stem)
            executed, folder = build / path.name, build / "empty"
            with pytest.MonkeyPatch.context() as patch:
                for name, value in {**cut_off, "HF_TOKEN": TOKEN}.items():
                    patch.setenv(name, value)
                patch.delenv("FTKIT_STRICT", raising=False)
                result = run_notebook(path, executed, {"scale": "tiny", "out_dir": "."}, cwd=folder,
                                      limit_s=TINY_LIMIT_S)
            done[path.stem] = Shipped(result, executed, folder, TOKEN)
        return done[path.stem]

    return run


@pytest.fixture(scope="session")
def notebooks() -> Path:
    """The folder with the lessons."""
    return NOTEBOOKS
