"""A process that has imported what points need and then only forks: each point starts warm, in a process of its own.

    python -m ftkit.sweep.warm SOCKET MODULE…

It runs no torch operation, no thread and no tokenizer before it forks. Each request is a socket; a guard is forked for
it, and the guard forks the process that does the work. The guard ends the work and everything that the work started
when it is told to, when the other end of its socket closes, or when this process ends; so nothing outlives a sweep,
however the sweep ended. Knows nothing about points: it reads a call, and tells what came of it. Linux alone.
"""

import ctypes
import faulthandler
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

POLL_S = 0.02
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # of prctl
_LENGTH_BYTES = 8


def main(arguments: list[str]) -> int:
    """Serves until the other end of the socket closes."""
    server = socket.socket(fileno=int(arguments[0]))
    with suppress(BrokenPipeError, ConnectionResetError):
        for module in arguments[1:]:
            with suppress(ImportError):  # then a point imports it, and says what is wrong
                importlib.import_module(module)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards leave nothing behind
        while True:
            request, handles, _, _ = socket.recv_fds(server, 16, 1)
            if not request:
                return 0
            if os.fork() == 0:
                server.close()
                _leave(_guard, handles[0])
            os.close(handles[0])
    return 0


def _leave(function: Callable, *arguments: object) -> None:
    """Calls the function and ends this forked process, without what the parent would do at its own end."""
    code = 1
    try:
        code = function(*arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _guard(handle: int) -> int:
    """Forks the work, watches over it, and ends all that is left of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _prctl(_SET_SUBREAPER, 1)  # what the work leaves behind comes to this process
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    _die_with_parent(signal.SIGTERM)
    channel = socket.socket(fileno=handle)
    request = read_message(channel)
    if request is None:
        return 0
    work = os.fork()
    if work == 0:
        _leave(_work, channel, request)
    send_message(channel, {"pid": work})
    ended, status, used = 0, 0, None
    while not ended:
        ended, status, used = os.wait4(work, os.WNOHANG)
        if not ended and (ending or _is_told(channel)):
            os.kill(work, signal.SIGKILL)
            ended, status, used = os.wait4(work, 0)
    end_descendants()
    with suppress(OSError):
        send_message(channel, {"code": os.waitstatus_to_exitcode(status), "peak_gib": used.ru_maxrss / 2**20})
    return 0


def _work(channel: socket.socket, request: dict) -> int:
    """Calls what was asked for; prints go to the log, what came out goes through the socket."""
    from ftkit.sweep.calls import Call, perform

    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _die_with_parent(signal.SIGKILL)
    with suppress(OSError):  # if memory runs out, this process goes first, not the sweep
        Path("/proc/self/oom_score_adj").write_text("500")
    _limit_memory(request["memory_gib"])
    _redirect(request["log"])
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 writes to the log where a point is
    outcome = perform(Call(**request["call"]))
    sys.stdout.flush()
    sys.stderr.flush()
    send_message(channel, outcome)
    return 0


def read_message(channel: socket.socket) -> dict | None:
    """The next message, once it is there; None where the other end has closed."""
    head = _read(channel, _LENGTH_BYTES)
    body = _read(channel, int.from_bytes(head, "little")) if head else None
    return json.loads(body) if body else None


def send_message(channel: socket.socket, message: dict) -> None:
    """Sends a message whole."""
    body = json.dumps(message).encode()
    channel.sendall(len(body).to_bytes(_LENGTH_BYTES, "little") + body)


def end_descendants() -> None:
    """Kills every process below this one and waits for its end, whatever session it is in."""
    import psutil

    this = psutil.Process()
    while True:
        for one in this.children(recursive=True):
            with suppress(psutil.Error):
                one.kill()
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(POLL_S)


def _read(channel: socket.socket, size: int) -> bytes | None:
    parts, left = [], size
    while left:
        try:
            part = channel.recv(min(left, 2**20))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _is_told(channel: socket.socket) -> bool:
    """Whether the other end asks for the end, or has closed; waits a moment for it."""
    return bool(select.select([channel], [], [], POLL_S)[0])


def _limit_memory(memory_gib: float | None) -> None:
    if memory_gib:
        size = int(memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _redirect(log: str) -> None:
    with open(os.devnull, "rb") as nothing, open(log, "ab") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)


def _die_with_parent(number: int) -> None:
    parent = os.getppid()
    _prctl(_SET_DEATH_SIGNAL, number)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
