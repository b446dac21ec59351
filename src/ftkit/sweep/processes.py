"""A process of its own for each call: forked from a warm parent where that can be, else started anew.

Knows nothing about grids or points. A process that is over its limit, unwanted or left alone ends with all that it
started.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import ftkit
from ftkit.sweep.calls import Call
from ftkit.sweep.warm import read_message, send_message

POLL_S = 0.1
_END_S = 10.0  # for what was told to end
WORKING = ("ftkit.sweep.calls",)  # what every point needs


class WarmParent:
    """A process that forks one process a call, until `close` or the end of this process.

    Args:
        modules: what it imports first.
    """

    def __init__(self, modules: Sequence[str] = ()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            words = [sys.executable, "-m", "ftkit.sweep.warm", str(theirs.fileno()), *WORKING, *modules]
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                                             start_new_session=True, env=_env({"OMP_NUM_THREADS": "1"}))
        self._socket = ours

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    def start(self, request: dict) -> socket.socket:
        """A socket to the guard of a process that works on the request."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._socket, [b"call"], [theirs.fileno()])
        send_message(ours, request)
        return ours

    def close(self) -> None:
        """Ends it, and every process that it forked."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        if self.alive:
            self._process.kill()
            self._process.wait()


_parents: dict[tuple, WarmParent] = {}  # of this process, by what they have imported
_parents_lock = threading.Lock()


def warm_parent(modules: Sequence[str]) -> WarmParent:
    """This process's warm parent that has imported these modules; started when first asked for."""
    with _parents_lock:
        key = (os.getpid(), *modules)
        if key not in _parents or not _parents[key].alive:
            _parents[key] = WarmParent(modules)
        return _parents[key]


def close_parents() -> None:
    """Ends the warm parents of this process, and all that they forked."""
    with _parents_lock:
        for key in [key for key in _parents if key[0] == os.getpid()]:
            _parents.pop(key).close()


def can_fork() -> bool:
    """Whether warm parents work here."""
    return sys.platform == "linux" and hasattr(socket, "send_fds")


def run_call(call: Call, *, log: Path, modules: Sequence[str] = (), limit_s: float | None = None,
             memory_gib: float | None = None, unwanted: Callable[[], str | None] = lambda: None) -> dict:
    """What came of a call in a process of its own: {"metrics": …} or {"error": …}; "elapsed_s"; "peak_gib" if known.

    Args:
        log: what the call prints is added to this file.
        modules: what the warm parent has imported.
        limit_s: seconds; what runs longer is ended.
        memory_gib: what it may allocate; None for no limit.
        unwanted: asked all the while; a word ends the call, and comes back as "ended".
    """
    request = {"call": json.loads(call.text()), "log": str(log), "memory_gib": memory_gib}
    clock = _Clock(limit_s)
    outcome = (_warm if can_fork() else _cold)(request, modules, clock, lambda: clock.over() or unwanted())
    outcome["elapsed_s"] = clock.elapsed_s()
    if outcome.get("ended") == "limit":
        return {**outcome, "ended": None, "error": f"TimeLimit: it ran past its limit of {limit_s:g} s"}
    return outcome


class _Clock:
    """Seconds since the call itself began: a warm parent that is still importing doesn't count."""

    def __init__(self, limit_s: float | None):
        self.limit_s, self.began_s = limit_s, None

    def start(self) -> None:
        self.began_s = time.monotonic()

    def elapsed_s(self) -> float:
        return 0.0 if self.began_s is None else round(time.monotonic() - self.began_s, 3)

    def over(self) -> str | None:
        return "limit" if self.limit_s is not None and self.elapsed_s() > self.limit_s else None


def _warm(request: dict, modules: Sequence[str], clock: _Clock, why: Callable[[], str | None]) -> dict:
    with warm_parent(modules).start(request) as channel:
        outcome, ended = {}, None
        while True:
            if not select.select([channel], [], [], POLL_S)[0]:
                if not ended and (ended := why()):
                    with suppress(OSError):  # it may have come to its end this moment
                        channel.send(b"e")
                continue
            message = read_message(channel)
            outcome |= message or {}
            if outcome.pop("pid", None):
                clock.start()
            if message is None or "code" in message:
                return _told(outcome, ended)


def _told(outcome: dict, ended: str | None) -> dict:
    """The outcome with a reason for a process that ended without a word."""
    code = outcome.pop("code", None)
    if "metrics" in outcome or "error" in outcome:
        return outcome
    if ended:
        return {**outcome, "ended": ended}
    if code is None:
        return {**outcome, "error": "ProcessDied: the process that started it is gone"}
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the usual cause is too little memory" if name == "SIGKILL" else ""
        return {**outcome, "error": f"ProcessDied: ended by {name}{hint}"}
    return {**outcome, "error": f"ProcessDied: it left with exit status {code} before its end"}


def _cold(request: dict, modules: Sequence[str], clock: _Clock, why: Callable[[], str | None]) -> dict:
    """The same in a new interpreter, where nothing can be forked."""
    import psutil

    request = {**request, "outcome": f"{request['log']}.outcome"}
    words = [sys.executable, "-m", "ftkit.sweep.cold"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, env=_env({}), text=True)
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()  # it stays open: its end tells the process that it is alone
    clock.start()
    ended = None
    while process.poll() is None:
        time.sleep(POLL_S)
        if ended := why():
            with suppress(psutil.Error):
                family = psutil.Process(process.pid)
                for one in [*family.children(recursive=True), family]:
                    one.kill()
            process.wait()
    path = Path(request["outcome"])
    outcome = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.unlink(missing_ok=True)
    return _told({**outcome, "code": process.returncode}, ended)


def _env(more: dict[str, str]) -> dict[str, str]:
    """The variables for a process that is to find this very package."""
    env = {**os.environ, **more}
    source = str(Path(ftkit.__file__).resolve().parents[1])
    if source not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [source, env.get("PYTHONPATH")]))
    return env
