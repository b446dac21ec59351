"""Where points run, by the interface of concurrent.futures: one by one, side by side, or on Dask's workers.

What is given to these executors (`supervising.supervised`) starts a process of its own, so a slot costs a thread, and a
point that dies leaves its slot unharmed. Knows nothing about points.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import spawn
from pathlib import Path

from ftkit.errors import missing_package, refusal, unknown

KINDS = ("forked", "serial", "dask")
ANSWER_S = 10.0  # for a scheduler
RETRIES = 3  # of a point whose worker died
_NVIDIA = Path("/proc/driver/nvidia/gpus")


class Serial(Executor):
    """One call after the other, each at once when it is submitted, in the thread that submits it."""

    def submit(self, function: Callable, /, *arguments: object, **named: object) -> Future:
        """The result of the call, which is over when this returns."""
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class Forked(ThreadPoolExecutor):
    """So many calls at once on this machine; the process that each starts is forked from a warm one where it can be."""


@contextmanager
def opened(kind: str = "forked", jobs: int | None = None, address: str | None = None) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many points it takes at once; closed afterwards.

    Args:
        kind: "forked", "serial" or "dask".
        jobs: points at once; None takes 1, or as many as a Dask cluster has threads.
        address: of Dask's scheduler; None or "local" starts workers on this machine.

    Raises:
        Refusal: an unknown kind, fewer than one job, or Dask is not installed or does not answer.
    """
    if kind not in KINDS:
        raise unknown("executor", kind, KINDS)
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise refusal("jobs", "1 or more", jobs)
    if kind == "serial":
        if jobs not in (None, 1):
            raise refusal("jobs", "1 for the serial executor", jobs, "Leave the executor out.")
        yield Serial(), 1
    elif kind == "forked":
        with Forked(jobs or 1) as executor:
            yield executor, jobs or 1
    else:
        with _dask(None if address == "local" else address, jobs) as found:
            yield found


@contextmanager
def _dask(address: str | None, jobs: int | None) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise missing_package("distributed", "cluster") from error
    if address is None:
        with _same_variables(), _without_main(), \
                LocalCluster(n_workers=jobs or 1, threads_per_worker=1, dashboard_address=None) as cluster, \
                Client(cluster) as client:
            yield client.get_executor(pure=False, retries=RETRIES), jobs or 1
        return
    try:
        client = Client(address, timeout=ANSWER_S)
    except (OSError, ValueError) as error:
        raise refusal("dask", "local, or the address of a scheduler that answers", address,
                      f"{type(error).__name__}: {error}") from error
    with client:
        yield client.get_executor(pure=False, retries=RETRIES), jobs or max(1, sum(client.nthreads().values()))


@contextmanager
def _same_variables() -> Iterator[None]:
    """Afterwards the variables are as they were: Dask sets threads and a hash seed where it starts workers."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _without_main() -> Iterator[None]:
    """While open, processes that are started here don't import the caller's script, which may have no guard."""
    original = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {key: value for key, value in original(name).items()
                                               if not key.startswith("init_main")}
    try:
        yield
    finally:
        spawn.get_preparation_data = original


def gpu_for(gpus: Sequence[str], in_use: Sequence[str]) -> str | None:
    """The GPU for the next point: the one that fewest points use; None where there is none.

    Example:
        >>> gpu_for(["0", "1"], in_use=["0"])
        '1'
    """
    return min(gpus, key=list(in_use).count) if gpus else None


def visible_gpus(nvidia: Path = _NVIDIA) -> tuple[str, ...]:
    """The GPUs that points may be given here, as CUDA_VISIBLE_DEVICES names them; found without starting CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(one.strip() for one in named.split(",") if one.strip() and one.strip() != "-1")
    return tuple(str(place) for place, _ in enumerate(nvidia.iterdir())) if nvidia.is_dir() else ()
