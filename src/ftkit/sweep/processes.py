"""A call in a process of its own: started warm where that pays, ended at its limit or when it is unwanted.

Knows nothing about grids or points. See `guard` for how it ends, and `ftkit.warm` for what it is forked from.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from ftkit import warm
from ftkit.sweep import guard
from ftkit.sweep.calls import Call

POLL_S = 0.1


class _Clock:
    """Seconds since the call itself began: what its process imports before doesn't count."""

    def __init__(self, limit_s: float | None):
        self.limit_s, self.began_s = limit_s, None

    def start(self) -> None:
        self.began_s = time.monotonic()

    def elapsed_s(self) -> float:
        return 0.0 if self.began_s is None else round(time.monotonic() - self.began_s, 3)

    def over(self) -> str | None:
        return "limit" if self.limit_s is not None and self.elapsed_s() > self.limit_s else None


def run_call(call: Call, *, log: Path, limit_s: float | None = None, memory_gib: float | None = None,
             unwanted: Callable[[], str | None] = lambda: None) -> dict:
    """What came of a call in a process of its own: {"metrics": …} or {"error": …}; "elapsed_s"; "peak_gib" if known.

    Args:
        log: what the call prints is added to this file.
        limit_s: seconds; what runs longer is ended.
        memory_gib: what it may allocate, where the system can refuse the rest; None for no limit.
        unwanted: asked all the while; a word ends the call, and comes back as "ended".
    """
    clock = _Clock(limit_s)
    request = json.dumps({"call": asdict(call), "memory_gib": memory_gib})
    channel, theirs = multiprocessing.Pipe()
    multiprocessing.current_process().daemon = False  # a worker of Dask's is one, and may have no children then
    with channel, theirs:
        process = warm.start(guard.serve, theirs, request, env={**os.environ, **call.env}, output=log,
                             fresh=not call.is_heavy)
        theirs.close()
        outcome = _followed(channel, process, clock, lambda: clock.over() or unwanted())
    outcome["elapsed_s"] = clock.elapsed_s()
    if outcome.get("ended") == "limit":
        return {**outcome, "ended": None, "error": f"TimeLimit: it ran past its limit of {limit_s:g} s"}
    return outcome


def _followed(channel: Connection, process: multiprocessing.Process, clock: _Clock,
              why: Callable[[], str | None]) -> dict:
    """All that the guard tells until it has no more to tell."""
    told, ended = {}, None
    while True:
        try:
            message = json.loads(channel.recv_bytes()) if channel.poll(POLL_S) else {}
        except (EOFError, OSError, ValueError):  # the last: a kill cut a message short
            return _reasoned(told, ended)
        told |= message
        if "pid" in message:
            clock.start()
        if not message and not ended and (ended := why()):
            _end(channel, process)


def _end(channel: Connection, process: multiprocessing.Process) -> None:
    if guard.CAN_GUARD:
        with suppress(OSError):  # it may have come to its end this moment
            channel.send_bytes(b"end")
        return
    import psutil

    with suppress(psutil.Error):
        family = psutil.Process(process.pid)
        for one in [*family.children(recursive=True), family]:
            one.kill()


def _reasoned(told: dict, ended: str | None) -> dict:
    """What was told, with a reason for a process that ended without a word."""
    code = told.pop("code", None)
    told.pop("pid", None)
    if "metrics" in told or "error" in told:
        return told
    if ended:
        return {**told, "ended": ended}
    if code is None:
        return {**told, "error": "ProcessDied: it ended without a word"}
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the usual cause is too little memory" if name == "SIGKILL" else ""
        return {**told, "error": f"ProcessDied: ended by {name}{hint}"}
    return {**told, "error": f"ProcessDied: it left with exit status {code} before its end"}
