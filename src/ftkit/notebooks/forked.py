"""A kernel forked from the prepared process of `warm` instead of started from nothing. Knows nothing about notebooks.

jupyter_client keeps a kernel's process behind a "provisioner". The one here makes that process another way; all else,
from ports and encryption to interrupting and ending it, stays jupyter_client's.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from ftkit import warm


class SpareKernel:
    """A forked process that waits to become a kernel. `warm.can_fork` says beforehand whether there can be one.

    It is forked before anything of a run has begun in the caller, such as an event loop, which would be copied.

    Args:
        cwd: the folder it works in.
        env: its environment variables.
    """

    def __init__(self, cwd: str | Path, env: Mapping[str, str]):
        line, self._line = multiprocessing.Pipe(duplex=False)
        self.process = warm.start(_serve, line, _search_path(env.get("PYTHONPATH")), cwd=cwd, env=env)
        line.close()

    def serve(self, arguments: list[str]) -> None:
        """Makes it the kernel that a command line with these arguments would start."""
        self._line.send(arguments)

    def close(self) -> None:
        """Ends it, and what it started, where it has not ended."""
        self._line.close()
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


class SpareProvisioner(LocalProvisioner):
    """Makes a spare process the kernel where other provisioners start a command."""

    spare: SpareKernel

    async def launch_kernel(self, cmd: list[str], **settings: object) -> KernelConnectionInfo:
        """What a client connects to; the kernel has begun to start."""
        self.spare.serve(cmd[cmd.index("-f"):])
        self.process = _AsPopen(self.spare.process)
        self.pid = self.pgid = self.process.pid
        self.cwd = settings.get("cwd")
        return self.connection_info


class _AsPopen:
    """A process of multiprocessing, spoken to as one of subprocess."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.Process):
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _serve(line: Connection, search_path: tuple[str, ...]) -> None:
    """The kernel itself, in the forked process, until it is told to end."""
    try:
        arguments = line.recv()
    except EOFError:  # it is not needed
        return
    sys.argv[:], sys.path[:] = [find_spec("ipykernel_launcher").origin, *arguments], search_path
    multiprocessing.current_process().name = "MainProcess"
    app = IPKernelApp.instance(parent_handle=1)  # without one it prints advice; `warm` ends it with the caller
    app.initialize(arguments)
    if matplotlib := sys.modules.get("matplotlib"):  # two that look for a kernel when they are imported
        matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]
    if ipywidgets := sys.modules.get("ipywidgets"):
        ipywidgets.register_comm_target()
    app.start()


@cache
def _search_path(python_path: str | None) -> tuple[str, ...]:
    """Where a fresh kernel looks for modules: in its folder, behind the standard library, not beside the caller."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"PYTHONPATH": python_path} if python_path else {}
    code = "import sys; print(*sys.path[1:], sep='\\n')"
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    paths = said.splitlines()
    packages = [Path(one).name in ("site-packages", "dist-packages") for one in paths]
    paths.insert(packages.index(True) if any(packages) else 0, "")  # as IPython does it
    return tuple(paths)
