"""What this machine can do, and what to do about what it can't. Knows nothing about how the findings are shown.

Nothing here is downloaded and nothing fails: a thing that can't be found out is a finding with a remedy.
"""

import logging
import os
import platform
import shutil
import sys
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

import ftkit
from ftkit.device import choose_device, choose_dtype, hardware
from ftkit.units import GIB

OK, NOTE, MISSING = "ok", "note", "missing"
PYTHONS = ((3, 11), (3, 13))
HUB_TIMEOUT_S = 2.0
NEEDS_GIB = {"tiny": 2.0, "small": 8.0, "full": 16.0}  # memory; at full of a GPU, at small of either
_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at: "ok", a "note" (works, with less) or "missing", what was found, and the remedy."""

    name: str
    state: str
    value: str
    remedy: str = ""


def diagnose(lessons: Mapping[str, Mapping[str, float]] | None = None, folder: str | Path = ".") -> list[Finding]:
    """All findings about this machine, in the order in which they matter.

    Args:
        lessons: lesson stem to the memory it needs at each scale, in GiB, where it differs from `NEEDS_GIB`.
        folder: where runs would be written, for the disk.
    """
    memory_gib, gpu_gib = psutil.virtual_memory().total / GIB, gpu_memory_gib()
    return [python(), *packages(), processor(), memory(), disk(folder), gpu(gpu_gib), quantisation(), hub(),
            chinese_font(), *(scales(stem, needs, memory_gib, gpu_gib) for stem, needs in (lessons or {}).items())]


def python() -> Finding:
    """Whether this Python is one that the kit is made for."""
    low, high = (".".join(map(str, version)) for version in PYTHONS)
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    return Finding("Python", OK if fits else MISSING, platform.python_version(),
                   "" if fits else f"Install Python {low} to {high}.")


def packages(required: list[str] | None = None) -> list[Finding]:
    """One finding for all packages that are there as they should be, and one for each that is not.

    Args:
        required: lines of a requirements file; those of requirements.lock in the checkout by default, or else those
            that the installed kit declares.
    """
    from packaging.requirements import Requirement

    source = "requirements.lock"
    if required is None:
        required, source = _required()
    needed = [Requirement(line) for line in required]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [finding for one in needed if (finding := _package(one))]
    counted = f"{len(needed) - len(wrong)} of {len(needed)} as in {source}"
    return [Finding("packages", OK if not wrong else NOTE, counted), *wrong]


def processor() -> Finding:
    """The processor, its cores, and whether it multiplies matrices in bfloat16."""
    found = hardware()
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    few = "" if cores >= 2 else "The times in the lessons are for two cores: expect about twice as long."
    units = ", matrix units for bfloat16" if found.get("matmul_precision") == "medium" else ""
    return Finding("CPU", NOTE if few else OK, f"{found.get('cpu', platform.machine())}, {cores} cores{units}", few)


def memory() -> Finding:
    """Memory, all of it and what is free."""
    found = psutil.virtual_memory()
    short = found.available / GIB < NEEDS_GIB["tiny"]
    return Finding("memory", NOTE if short else OK, f"{found.total / GIB:.1f} GiB, {found.available / GIB:.1f} free",
                   "Close other programs: scale tiny takes up to 2 GiB." if short else "")


def disk(folder: str | Path = ".") -> Finding:
    """Free space where runs are written."""
    free_gib = shutil.disk_usage(folder).free / GIB
    short = free_gib < _DISK_GIB
    return Finding("disk", MISSING if short else OK, f"{free_gib:.1f} GiB free",
                   f"Free {_DISK_GIB:g} GiB, or give another folder with --folder, --build or --out." if short else "")


def gpu_memory_gib() -> float:
    """Memory of the largest GPU that torch can use; 0 without one."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    return max(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())) / GIB


def gpu(gpu_gib: float) -> Finding:
    """The GPU and the number type that training computes in."""
    device = choose_device()
    kind = str(choose_dtype(device=device)).removeprefix("torch.")
    if gpu_gib:
        return Finding("GPU", OK, f"{hardware().get('gpu')}, {gpu_gib:.1f} GiB, computes in {kind}")
    if device.type != "cpu":
        return Finding("GPU", OK, f"{device.type}, computes in {kind}")
    hidden = shutil.which("nvidia-smi") is not None
    remedy = "The driver is there, torch is a CPU build: see 'A GPU' in the README." if hidden else \
        "Not needed at scale tiny; small is slow and full impossible without one."
    return Finding("GPU", NOTE, f"none, computes in {kind} on the CPU", remedy)


def quantisation() -> Finding:
    """Whether bitsandbytes can store a matrix in 4 bits on the device that would be used."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of speed-ups that are not needed here
    try:
        import bitsandbytes
        import torch

        device = choose_device()
        stored, state = bitsandbytes.functional.quantize_4bit(torch.eye(64, device=device), quant_type="nf4")
        bitsandbytes.functional.dequantize_4bit(stored, state)
    except Exception as error:  # a broken binary raises whatever it likes
        return Finding("bitsandbytes", NOTE, f"not usable: {type(error).__name__}: {error}",
                       'Needed for 4-bit models only: pip install --force-reinstall "bitsandbytes".')
    return Finding("bitsandbytes", OK, f"{bitsandbytes.__version__}, 4-bit on {device.type}")


def hub() -> Finding:
    """Whether the model hub answers within two seconds."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    remedy = "Not needed at scale tiny. Give a local folder as model, or the address of a mirror in HF_ENDPOINT."
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding("model hub", NOTE, "switched off by HF_HUB_OFFLINE", remedy)
    answers = []
    asking = threading.Thread(target=_ask, args=(address, answers), daemon=True)  # a name server can stall longer
    asking.start()
    asking.join(HUB_TIMEOUT_S + 0.5)
    if answers:
        return Finding("model hub", OK, "answers")
    return Finding("model hub", NOTE, f"no answer within {HUB_TIMEOUT_S:g} s", remedy)


def chinese_font() -> Finding:
    """Whether figures can show Chinese."""
    from ftkit.fonts import font_for_chinese

    font = font_for_chinese()
    return Finding("Chinese font", OK if font else NOTE, font or "none found", "" if font else
                   "Figures are in English. Install Noto Sans CJK SC (Debian: apt install fonts-noto-cjk).")


def scales(stem: str, needs: Mapping[str, float], memory_gib: float, gpu_gib: float) -> Finding:
    """At which scales a lesson can run here.

    Args:
        stem: the lesson.
        needs: memory by scale in GiB where it differs from `NEEDS_GIB`.
        memory_gib: the machine's memory.
        gpu_gib: the largest GPU's; 0 without one.

    Example:
        >>> scales("00_start_here", {}, memory_gib=16, gpu_gib=0)
        Finding(name='00_start_here', state='ok', value='tiny, small', remedy='full needs a GPU of 16 GiB.')
    """
    needs = {**NEEDS_GIB, **needs}
    room = {"tiny": memory_gib, "small": max(memory_gib, gpu_gib), "full": gpu_gib}
    fits = [scale for scale in NEEDS_GIB if room[scale] >= needs[scale]]
    where = {"tiny": "of memory", "small": "of memory or a GPU of as much", "full": ""}
    lacks = [f"{scale} needs a GPU of {needs[scale]:g} GiB." if scale == "full" else
             f"{scale} needs {needs[scale]:g} GiB {where[scale]}." for scale in NEEDS_GIB if scale not in fits]
    return Finding(stem, OK if "tiny" in fits else MISSING, ", ".join(fits) or "at no scale", " ".join(lacks))


def _required() -> tuple[list[str], str]:
    lock = Path(ftkit.__file__).resolve().parents[2] / "requirements.lock"
    if lock.is_file():
        lines = [line.partition(" #")[0].strip() for line in lock.read_text("utf-8").splitlines()]
        return [line for line in lines if line and not line.startswith(("#", "-"))], lock.name
    try:
        return metadata.requires("ftkit") or [], "the kit's requirements"
    except metadata.PackageNotFoundError:
        return [], "the kit's requirements (not installed: pip install -e .)"


def _package(requirement) -> Finding | None:
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, MISSING, "not installed", f'pip install "{_bare(requirement)}"')
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return Finding(requirement.name, NOTE, f"{found}, made with {requirement.specifier}",
                   f'pip install "{_bare(requirement)}"')


def _bare(requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _ask(address: str, answers: list):
    try:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "ftkit"})
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S) as answer:
            answers.append(answer.status)
    except (OSError, ValueError):  # no network, no name, a refusal, or no address: each is "no answer"
        pass
