"""One notebook through papermill, in a kernel of the running Python. Knows nothing about lessons, stamps or scores.

papermill starts whatever kernel the notebook's metadata name, keeps nothing of a run that timed out unless it writes
after every cell, and limits the time of a cell, not of a notebook. The engine here mends these three.
"""

import os
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
import psutil
import zmq
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

import ftkit
from ftkit import warm as prepared
from ftkit.notebooks.forked import SpareKernel, SpareProvisioner
from ftkit.units import GIB

SAMPLE_EVERY_S = 0.1
KERNEL_LOG_LEVEL = "CRITICAL"  # a kernel that is stopped in a cell would log the traceback of its own ending


@dataclass
class Execution:
    """What came of one run: the notebook with its outputs, and how and where it ended."""

    limit_s: float | None
    cwd: Path
    env: dict[str, str]
    spare: SpareKernel | None = None
    on_section: Callable[[str], None] | None = None
    notebook: nbformat.NotebookNode | None = None
    cell: str | None = None  # id of the cell that failed
    error: str | None = None
    elapsed_s: float = 0.0
    peak_gib: float = 0.0
    _started_s: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float | None:
        """Seconds until the time limit of the notebook; None without a limit."""
        return None if self.limit_s is None else max(0.01, self.limit_s - (time.monotonic() - self._started_s))


def execute(notebook: nbformat.NotebookNode, parameters: dict, *, cwd: str | Path, env: dict[str, str] | None = None,
            limit_s: float | None = None, warm: bool = False,
            on_section: Callable[[str], None] | None = None) -> Execution:
    """The notebook run from top to bottom, or as far as it came; an error in it is returned, not raised.

    Args:
        notebook: the notebook; it is not changed.
        parameters: values that papermill injects.
        cwd: the folder the kernel works in.
        env: environment variables for the kernel beside those of this process.
        limit_s: seconds for the whole notebook; None for no limit.
        warm: fork the kernel from a process that has imported torch and the like; see `ftkit.warm`.
        on_section: is called with each section's heading when the run comes to it.
    """
    env = kernel_env(env or {})
    spare = SpareKernel(cwd, env) if warm and prepared.can_fork(env) else None
    run = Execution(limit_s=limit_s, cwd=Path(cwd), env=env, spare=spare, on_section=on_section)
    papermill_engines.register("ftkit", _ThisPythonEngine)
    try:
        papermill.execute_notebook(notebook, None, parameters, engine_name="ftkit", kernel_name="python3",
                                   language="python", progress_bar=False, request_save_on_cell_execute=False,
                                   execution=run)
    except papermill.PapermillExecutionError as error:
        run.error = f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        _note(run, "TimeLimit", f"the notebook ran past its limit of {limit_s:g} s")
    except DeadKernelError:
        _note(run, "KernelDied", "the kernel died; the usual cause is too little memory")
    except Exception as error:  # a kernel that doesn't start, a broken pipe: one notebook's failure, not the run's
        run.error = f"{type(error).__name__}: {error}"
    finally:
        if spare:
            spare.close()
    run.elapsed_s = time.monotonic() - run._started_s
    run.cell = run.cell if run.error else None
    return run


class PeakMemory:
    """The resident peak of a process and its children, watched from a thread until `stop`."""

    def __init__(self, pid: int):
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The peak in GiB."""
        self._sample()
        self._stopped.set()
        self._thread.join()
        return self.peak_bytes / GIB

    def _watch(self):
        self._sample()
        while not self._stopped.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self):
        total = own = 0
        with suppress(psutil.Error, OSError):  # it has ended
            own = _own_peak_bytes(self._process)
            for process in [self._process, *self._process.children(recursive=True)]:
                with suppress(psutil.Error):  # a child that ended between being listed and being asked
                    total += process.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, total, own)


class _ThisPython(AsyncKernelManager):
    """A kernel of the interpreter that runs this, whatever kernel specs are installed around it.

    What goes to and from it is encrypted where that is possible: on a shared machine others can read a local port.
    """

    def __init__(self, spare: SpareKernel | None):
        super().__init__(kernel_name="python3")
        if zmq.has("curve"):
            self.transport_encryption = "auto"
        if spare:
            self.kernel_id = uuid.uuid4().hex
            self.provisioner = SpareProvisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
            self.provisioner.spare = spare

    @property
    def kernel_spec(self):
        return KernelSpec(**get_kernel_dict([f"--log-level={KERNEL_LOG_LEVEL}"]))


class _ThisPythonEngine(Engine):
    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, log_output=False, execution=None, start_timeout=60, **_):
        execution.notebook = nb_man.nb
        watches = []

        def started(notebook):
            watches.append(PeakMemory(client.km.provisioner.pid))

        def cell_started(cell, cell_index):
            execution.cell = cell.get("id", str(cell_index))
            if execution.on_section and cell.cell_type == "markdown" and cell.source.startswith("## "):
                execution.on_section(cell.source.partition("\n")[0].removeprefix("## "))

        client = PapermillNotebookClient(
            nb_man, kernel_name="python3", startup_timeout=start_timeout,
            timeout_func=lambda cell: execution.seconds_left(), on_notebook_start=started, on_cell_start=cell_started)
        client.km = _ThisPython(execution.spare)  # not as an argument: then ending it would be left to the caller
        try:
            client.execute(cwd=str(execution.cwd), env=execution.env)
        finally:
            execution.peak_gib = max((watch.stop() for watch in watches), default=0.0)


def kernel_env(extra: dict[str, str]) -> dict[str, str]:
    """The variables for a process that is to find this very package: those of this process, and `extra`."""
    env = {**os.environ, **extra}
    source = str(Path(ftkit.__file__).resolve().parents[1])
    if source not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):  # a checkout, maybe not installed
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [source, env.get("PYTHONPATH")]))
    return env


def _own_peak_bytes(process: psutil.Process) -> int:
    """The peak that the system itself kept, between two samples too; 0 where it keeps none."""
    status = Path(f"/proc/{process.pid}/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return getattr(process.memory_info(), "peak_wset", 0)


def _note(run: Execution, name: str, words: str):
    """Put an error that no cell wrote where a reader of the executed copy looks for it."""
    run.error = f"{name}: {words}"
    for cell in run.notebook.cells if run.notebook else []:
        if cell.get("id") == run.cell and cell.cell_type == "code":
            cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=words,
                                                       traceback=[f"{name}: {words}"]))
