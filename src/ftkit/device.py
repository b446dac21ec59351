"""Device and dtype choice, seeding, peak memory, and what hardware this is.

Knows nothing about models or training. Nothing here says whose machine it is: no host name, no user, no path.
"""

import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import torch

from ftkit.cpu import matmul_precision
from ftkit.errors import refusal, unknown
from ftkit.units import GIB, KIB

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_AMPERE = (8, 0)  # the first compute capability with bfloat16 arithmetic


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: "auto" (a CUDA GPU, else Apple's, else the CPU), "cpu", "mps", "cuda" or "cuda:<index>".

    Raises:
        Refusal: the name is unknown, or that device is not here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    kind, _, index = str(name).partition(":")
    if kind not in ("cpu", "cuda", "mps") or not (index.isdigit() or not index):
        raise unknown("device", name, ["auto", "cpu", "cuda", "mps"])
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(_has_mps())}[kind]
    if int(index or 0) >= here:
        found = f"{here} {kind} device{'' if here == 1 else 's'} here"
        raise refusal("device", "one that is here", name, f"There are {found}: take 'auto' or 'cpu'.")
    return torch.device(name)


def choose_dtype(name: str = "auto", device: torch.device | str = "cpu") -> torch.dtype:
    """The floating-point type to compute in.

    Args:
        name: "auto" (float32 on a CPU; on a GPU bfloat16 from Ampere on, float16 before), "float32", "bfloat16" or
            "float16".
        device: where it will be used.

    Raises:
        Refusal: the name is unknown.

    Example:
        >>> choose_dtype("auto", "cpu")
        torch.float32
    """
    if name != "auto":
        if str(name) not in _DTYPES:
            raise unknown("dtype", name, ["auto", *_DTYPES])
        return _DTYPES[str(name)]
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= _AMPERE else torch.float16
    return torch.float16 if kind == "mps" else torch.float32


def seed_everything(seed: int) -> None:
    """Starts the random generators of Python, numpy and torch (all devices) from one number.

    Args:
        seed: 0 up to 2³² − 1.

    Raises:
        Refusal: the seed is no whole number in that range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise refusal("seed", "a whole number from 0 to 2**32 - 1", seed, "Take 0.")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def rng_state() -> dict:
    """Where the random generators of Python, numpy and torch stand."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng_(state: dict) -> None:
    """Puts the random generators back to where `rng_state` found them.

    Example:
        >>> state = rng_state()
        >>> first = random.random()
        >>> restore_rng_(state)
        >>> first == random.random()
        True
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state_all(state["cuda"])


def thread_count() -> int:
    """How many threads torch computes one operation with; another number may round sums differently."""
    return torch.get_num_threads()


def peak_gib() -> float:
    """The most memory used so far, in GiB: of the GPU where one is in use, else resident memory of this process."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / GIB
    return resident_peak_gib()


def resident_peak_gib() -> float:
    """The most resident memory this process has had, in GiB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / GIB
    try:  # not getrusage on Linux: its peak counts the parent's memory from before this program was started
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * KIB / GIB
    except OSError:
        pass
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else KIB  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def hardware() -> dict:
    """What this machine is, as far as speed depends on it: cpu, cores, matmul_precision, memory_gib, gpu, platform."""
    return {"cpu": _cpu_name(), "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "matmul_precision": matmul_precision(), "gpu": _gpu_name(),
            "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
            "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"}


def _cpu_name() -> str:
    try:
        if sys.platform == "darwin":
            name = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True).stdout
        else:
            lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
            name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    except OSError:
        name = ""
    return name.strip() or platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU" if _has_mps() else None


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
