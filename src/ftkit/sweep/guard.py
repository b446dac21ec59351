"""What stands between a sweep and the process of one point: it starts the process, and ends all that is left of it.

The guard forks the work and then only watches: its channel to the sweep, and the work. When the sweep asks for it or is
gone, however it went, the guard kills the work and every process below it, whatever session that is in. It does so when
the work is over, too. A work that holds the interpreter's lock for ever cannot keep it from doing so. Where processes
cannot be forked, the work is done without a guard. Knows nothing about points.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from ftkit.sweep.calls import Call, perform

POLL_S = 0.02
LOCK = ".guard"  # in a point's folder
_WAIT_S = 20.0
CAN_GUARD = sys.platform == "linux"
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # of prctl


def serve(channel: Connection, request: str) -> None:
    """Does what the request says, in a process of its own, and tells through the channel what came of it.

    Told are, each as JSON: {"pid": …} when it begins, what `calls.perform` returns, {"code": …, "peak_gib": …}.

    Args:
        request: JSON with the call, and what it may allocate.
    """
    given = json.loads(request)
    if not CAN_GUARD:
        tell(channel, {"pid": os.getpid()})
        tell(channel, perform(Call(**given["call"])))
    elif os.fork() == 0:  # the first process has a thread that would kill it before it could tidy up
        _leave(_guard, channel, given)


def tell(channel: Connection, message: dict) -> None:
    """Sends a message, if there is still somebody to read it."""
    with suppress(OSError):
        channel.send_bytes(json.dumps(message).encode())


def end_descendants() -> None:
    """Kills every process below this one and waits for its end."""
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


def _guard(channel: Connection, given: dict) -> None:
    os.setsid()
    _prctl(_SET_SUBREAPER, 1)  # what the work leaves behind comes to this process
    if not _alone(Path(given["call"]["folder"])):
        tell(channel, {"error": "another process still works on this point"})
        return
    tell(channel, {"pid": os.getpid()})  # before there is another one that speaks: one message could cut another apart
    work = os.fork()
    if work == 0:
        _leave(_work, channel, given)
    ended, status, used = 0, 0, None
    while not ended:
        unwanted = channel.poll(POLL_S)  # a word, or the end of the channel
        if unwanted:
            os.kill(work, signal.SIGKILL)
        ended, status, used = os.wait4(work, 0 if unwanted else os.WNOHANG)
    end_descendants()
    tell(channel, {"code": os.waitstatus_to_exitcode(status), "peak_gib": used.ru_maxrss / 2**20})


def _alone(folder: Path) -> bool:
    """Whether this guard is the folder's only one; waits for an earlier one, which is about to end."""
    import fcntl

    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)  # open until this process and the work end
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)


def _work(channel: Connection, given: dict) -> None:
    os.setsid()
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    with suppress(OSError):  # if memory runs out, this process goes first, not the sweep
        Path("/proc/self/oom_score_adj").write_text("500")
    if given["memory_gib"]:
        import resource

        size = int(given["memory_gib"] * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 adds to the log where a point is
    tell(channel, perform(Call(**given["call"])))


def _leave(function: object, *arguments: object) -> None:
    """Calls the function and ends this forked process, without what its parent would do at its own end."""
    try:
        function(*arguments)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)
