"""Processes forked from one that has imported everything: torch and transformers are read once, not once a process.

The prepared process is the "forkserver" of Python's multiprocessing: it imports the modules named here and then only
waits; it computes nothing with torch, starts no thread and makes no tokenizer, since none of them outlives a fork. A
process started here, and one started by that one, are forked from the same prepared process. Where that cannot be,
the same call starts a fresh interpreter. Knows nothing about what the processes do.
"""

import atexit
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import connection, forkserver, spawn
from operator import attrgetter
from pathlib import Path

from threadpoolctl import threadpool_limits  # comes with scikit-learn

from ftkit.errors import refusal

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None

PRELOADED = (  # ipykernel first: tqdm chooses its form when it is imported, by whether ipykernel is there
    "ipykernel.zmqshell", "ipykernel.ipkernel", "ipykernel.kernelapp", "torch", "transformers",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "transformers.models.qwen2.modeling_qwen2", "transformers.models.qwen2.tokenization_qwen2", "safetensors.torch",
    "matplotlib.pyplot", "pandas", "ftkit.trials", "ftkit.evaluate.answers", "ftkit.plots", "ftkit.notebooks.run",
    "ftkit.course.start", "ftkit.course.exercise")
PRELOADED_WITHOUT_GPU = ("peft", "bitsandbytes")  # beside a GPU they start CUDA, which does not outlive a fork
_PREPARED_WITH = {  # numpy and pyarrow start no thread, a look for GPUs no CUDA, the caller's folder hides no module
    "OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "MPLBACKEND": "", "PYTHONSAFEPATH": "1"}
_READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "MKL_", "OMP_", "LD_", "PYTHONHASHSEED")
_THREADS = "OMP_NUM_THREADS"
_starting = threading.Lock()
_prepared_env: list[dict[str, str]] = []  # of the prepared process, before and after its imports


def start(function: Callable, *args: object, cwd: str | Path | None = None, env: Mapping[str, str] | None = None,
          output: str | Path | None = None, fresh: bool = False) -> multiprocessing.Process:
    """A process that calls the function; forked from the prepared one where that can be.

    It leads a process group of its own, so that `os.killpg(process.pid, signal.SIGKILL)` ends its children too, and it
    is killed with its group when the process that called `start` dies, whatever it dies of; but where the system is not
    Linux, not while it holds the interpreter's lock. It does not import the caller's `__main__`: a script needs no
    guard. Results come back through files, or a Connection among the arguments.

    Args:
        function: one of a module that can be imported.
        args: what it is called with; they are pickled.
        cwd: its working folder; the caller's by default.
        env: all its environment variables; the caller's by default.
        output: a file that what it prints is added to; the caller's output by default.
        fresh: start a fresh interpreter all the same: quicker for a function that imports none of what is prepared.

    Raises:
        Refusal: the function belongs to a script or stands inside another one.
    """
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise refusal("function", "one that a module holds", function.__qualname__, "Write it into a file of its own.")
    env = dict(os.environ if env is None else env)
    method = "forkserver" if not fresh and can_fork(env) else "spawn"
    return _started(method, function, args, str(Path(cwd or ".").absolute()), env,
                    output and str(Path(output).absolute()))


def can_fork(env: Mapping[str, str] | None = None) -> bool:
    """Whether a process with these variables can be forked from the prepared one; where not, it is said why, once."""
    reason = obstacle(env)
    if reason:
        _say_once(reason)
    return reason is None


def obstacle(env: Mapping[str, str] | None = None) -> str | None:
    """Why a process with these variables is not forked from the prepared one, in words; None where it is.

    The first call waits until the prepared process has imported all it prepares, which takes seconds.

    Args:
        env: all its environment variables; the caller's by default.
    """
    return _unprepared() or _other_variables(os.environ if env is None else env)


@cache
def _unprepared() -> str | None:
    if not _has_server():
        return f"processes cannot be forked safely on {sys.platform}"
    here, there = multiprocessing.Pipe()
    try:
        _started("forkserver", _report, (there,), str(Path.cwd()), None, None)
        there.close()
        found = here.recv()
    except (OSError, EOFError):
        return "the process to fork from did not start"
    _prepared_env[:] = [found["began_with"], found["env"]]
    if found["cuda"]:
        return "CUDA was started in the process to fork from"
    return f"the process to fork from has {found['threads']} threads" if found["threads"] > 1 else None


def prepare() -> None:
    """Starts the prepared process, which then imports its modules; does not wait for it."""
    if not _has_server() or forkserver.get_inherited_fds() is not None:  # a child has its parent's
        return
    gpu = Path("/proc/driver/nvidia").exists()
    source = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]))
    with _starting, _variables(_PREPARED_WITH | {"PYTHONPATH": source}):
        forkserver.set_forkserver_preload([*PRELOADED, *(() if gpu else PRELOADED_WITHOUT_GPU)])
        forkserver.ensure_running()


def _has_server() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"


def _started(method: str, function: Callable, args: tuple, cwd: str, env: dict | None,
             output: str | None) -> multiprocessing.Process:
    if method == "forkserver":
        prepare()
    streams = () if output else (_duplicate(1), _duplicate(2))
    gone, alive = multiprocessing.Pipe(duplex=False)  # nothing is ever sent
    process = multiprocessing.get_context(method).Process(
        target=_begin, daemon=True,
        args=(function.__module__, function.__qualname__, args, cwd, env, output, streams, gone, _limits()))
    weakref.finalize(process, alive.close)
    with _starting, _without_main():
        process.start()
    for stream in filter(None, (*streams, gone)):
        stream.close()
    return process


def _begin(module: str, name: str, args: tuple, cwd: str, env: dict | None, output: str | None,
           streams: tuple, gone: connection.Connection, limits: Mapping[int, tuple[int, int]]) -> None:
    """What every process does first; then it calls the function, which is imported under its own variables."""
    gc.freeze()  # a search for garbage would touch all that was imported, and so copy it
    os.chdir(cwd)
    for kind, given in limits.items():
        with suppress(ValueError, OSError):  # one that was raised since
            resource.setrlimit(kind, given)
    if hasattr(os, "setsid"):
        os.setsid()
    _killed_with(gone)
    threading.Thread(target=_die_with_parent, args=(gone,), daemon=True).start()
    multiprocessing.current_process().daemon = False  # it may have children
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)  # as in a fresh one
    if forkserver.get_inherited_fds() is not None:  # else a child of this one would get another prepared process
        forkserver._forkserver.ensure_running = lambda: None
    _redirect(output, streams)
    if env is not None:
        _fresh_state(env)
    try:
        attrgetter(name)(importlib.import_module(module))(*args)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def _limits() -> dict[int, tuple[int, int]]:
    """What the system lets this process have, by kind: a child would have the same."""
    kinds = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {kind: resource.getrlimit(kind) for kind in kinds}


def _report(answer: connection.Connection) -> None:
    """Tells what the prepared process is like; called in a child of it."""
    tasks = Path(f"/proc/{os.getppid()}/task")
    answer.send({"threads": len(list(tasks.iterdir())) if tasks.is_dir() else 1, "cuda": _cuda_is_lost(),
                 "began_with": _begun_with(os.getppid()), "env": dict(os.environ), "modules": list(sys.modules)})


def _cuda_is_lost() -> bool:
    """Whether CUDA was started before this process was forked."""
    return "torch" in sys.modules and sys.modules["torch"].cuda._is_in_bad_fork()


def _begun_with(pid: int) -> dict[str, str]:
    """The variables a process was started with; empty where the system doesn't keep them."""
    kept = Path(f"/proc/{pid}/environ")
    entries = os.fsdecode(kept.read_bytes()).split("\0") if kept.is_file() else []
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _killed_with(gone: connection.Connection) -> None:
    """Has Linux kill this process's group when the caller is gone, even while it holds the interpreter's lock.

    The end of a pipe is told by a signal, and that may be SIGKILL. The signal for the death of a parent would not do:
    the parent is the prepared process, and that lives as long as any of its children.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return  # the thread alone: it cannot end a process that holds the lock
    fcntl.fcntl(gone.fileno(), fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(gone.fileno(), fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(gone.fileno(), fcntl.F_SETFL, fcntl.fcntl(gone.fileno(), fcntl.F_GETFL) | os.O_ASYNC)


def _die_with_parent(gone: connection.Connection) -> None:
    connection.wait([gone])
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _redirect(output: str | None, streams: tuple) -> None:
    if output:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1), os.dup2(file, 2), os.close(file)
    for number, stream in enumerate(streams, 1):
        if stream is not None:
            os.dup2(stream.fileno(), number), stream.close()
    for text in (sys.stdout, sys.stderr):
        if hasattr(text, "reconfigure"):
            text.reconfigure(line_buffering=True)  # what was printed is there after a kill, too


def _fresh_state(env: Mapping[str, str]) -> None:
    """Variables, threads and random generators as a fresh interpreter would have them."""
    threads_before = os.environ.get(_THREADS)
    os.environ.clear()
    os.environ.update(env)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threadpool_limits(int(env.get("OPENBLAS_NUM_THREADS") or env.get(_THREADS) or cores), user_api="blas")
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()
        if env.get(_THREADS) != threads_before:
            torch.set_num_threads(int(env[_THREADS]))
    if "matplotlib" in sys.modules and env.get("MPLBACKEND"):
        sys.modules["matplotlib"].rcParams["backend"] = env["MPLBACKEND"]


def _other_variables(env: Mapping[str, str]) -> str | None:
    """What keeps a process with these variables from being forked: a library has read one of them already."""
    names = {*env, *(name for one in _prepared_env for name in one)}
    changed = [name for name in names if name.startswith(_READ_AT_IMPORT) and name not in _PREPARED_WITH
               and env.get(name) not in [one.get(name) for one in _prepared_env]
               and not (name == _THREADS and env.get(name, "").isdigit())]
    return f"{', '.join(sorted(changed))} was set since modules were imported" if changed else None


@cache
def _say_once(reason: str) -> None:
    warnings.warn(f"processes start from a fresh interpreter, which takes seconds longer: {reason}", stacklevel=3)


def _duplicate(number: int) -> connection.Connection | None:
    """The caller's output, to be sent to a process; None where there is none, or where it goes along by itself."""
    try:
        return None if sys.platform == "win32" else connection.Connection(os.dup(number), readable=False)
    except OSError:
        return None


@contextmanager
def _variables(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """While open, processes started by this thread don't import the caller's `__main__`."""
    original, caller = spawn.get_preparation_data, threading.get_ident()

    def prepared(name: str) -> dict:
        data = original(name)
        if threading.get_ident() != caller:
            return data
        return {key: value for key, value in data.items() if not key.startswith("init_main")}

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = original
