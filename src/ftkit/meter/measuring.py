"""The peak of a training's memory: counted on fake tensors, for models of any size, or measured on real ones.

Knows nothing about how a peak is predicted.
"""

import ctypes
import gc
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ftkit import fused
from ftkit.device import resident_peak_gib
from ftkit.errors import refusal, unknown
from ftkit.live_bytes import PHASES, LiveBytes
from ftkit.memory.setup import Setup
from ftkit.meter import building, on_cuda
from ftkit.meter.steps import OurSteps, UsualSteps, label_tokens, make_state_
from ftkit.targets import counts
from ftkit.units import GIB

DEVICES = ("cuda", "cpu")
WAYS = ("ours", "peft")
PAGED_FROM = 100_000  # numbers of a parameter, from which on bitsandbytes keeps its state in paged memory
FAKE, CPU, CUDA = "live storages of fake tensors", "torch's CPU allocator", "torch's CUDA allocator"
PROCESS = "resident memory of the process"
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """The memory of a training's first steps.

    Args:
        peak_bytes: the most that was held at once.
        before_bytes: model and whatever else there was before the first step.
        counted: by whom.
        trainable: numbers that are trained.
        total: numbers of the model.
        elapsed_s: how long the measurement took.
        phases: the highest bytes of each phase; empty where the allocator counted.
        by: bytes at the peak by kind; empty where the allocator counted.
        phase: in which phase the peak is.
        place: in which module.
        notes: what was modelled, and how.
    """

    peak_bytes: int
    before_bytes: int
    counted: str
    trainable: int
    total: int
    elapsed_s: float
    phases: dict[str, int] = field(default_factory=dict)
    by: dict[str, int] = field(default_factory=dict)
    phase: str = ""
    place: str = ""
    notes: tuple[str, ...] = ()


def measure(config: dict, setup: Setup, *, device: str = "cuda", way: str = "ours", steps: int = 1) -> Measured:
    """The peak of a setup's steps, counted without allocating any tensor.

    The whole model is built and trained on fake tensors: all layers, forward, backward and optimizer, by the code that
    trains for real. The optimizer has its state from the beginning, as from the second step on.

    Args:
        config: of the model, as its config.json holds it.
        device: "cuda" counts what a GPU would hold, as `on_cuda` models it; "cpu" what a CPU holds.
        way: "ours" (`methods.prepare` and `train`) or "peft" (peft's LoRA, the loss of transformers' Trainer).
        steps: optimizer steps, 1 or more.

    Raises:
        Refusal: a model that cannot be built, or a setup that cannot be measured.
    """
    started_s = time.perf_counter()
    live, (trainable, total) = watch(config, setup, device=device, way=way, steps=steps)
    peak = live.peak()
    phases = {phase: live.peak(phase).bytes for phase in PHASES if phase in live.phases}
    return Measured(peak.bytes, live.before_bytes, FAKE, trainable, total, time.perf_counter() - started_s, phases,
                    peak.by, peak.phase, peak.place, _notes(setup) if device == "cuda" else ())


def watch(config: dict, setup: Setup, *, device: str = "cuda", way: str = "ours",
          steps: int = 1) -> tuple[LiveBytes, tuple[int, int]]:
    """All that `measure` counted, for who wants to know what was alive when; and the numbers trained and in all.

    Raises:
        Refusal: as for `measure`.
    """
    _check(setup, device, way, steps)
    from transformers import masking_utils  # it takes rows of fake tensors for packed ones, which would need a mask

    answers = _answers(label_tokens(setup))
    is_cuda = device == "cuda"
    with FakeTensorMode(allow_non_fake_inputs=True):
        with on_cuda.Exchanged(answers), building.for_fake_tensors():
            model = _prepared(building.build(config, setup, fake=True), setup, way)
            taken = _steps(model, setup, way, as_on_cuda=is_cuda)
        with (LiveBytes(model, granule_bytes=on_cuda.GRANULE_BYTES if is_cuda else 1) as live,
              on_cuda.Exchanged(answers | on_cuda.four_bit_operators()),
              patch.object(masking_utils, "find_packed_sequence_indices", lambda position_ids: None),
              on_cuda.on_cuda(setup.attention) if is_cuda else fused.masks_apart()):
            make_state_(taken.optimizer)
            taken.take(steps)
            if is_cuda and setup.optimizer.startswith("paged"):
                live.forget(_paged(taken.optimizer))
    return live, counts(model)


def measure_real(config: dict, setup: Setup, *, device: str | None = None, way: str = "ours", steps: int = 2,
                 by_process: bool = False) -> Measured:
    """The peak of a setup's first steps on a real model of random weights, as torch's own allocator counts it.

    On a GPU it is `torch.cuda.max_memory_allocated`, libraries' workspaces included that torch allocates for them. On a
    CPU it is the most bytes that torch's allocator had given out, as its profiler reports them one by one.

    Args:
        config: as for `measure`.
        device: "cuda" or "cpu"; None takes a GPU if there is one.
        way: as for `measure`.
        steps: optimizer steps; in the first there is no optimizer state yet.
        by_process: on a CPU under Linux, measure how far the whole process grows instead: memory that was freed and not
            given back, libraries' buffers and Python objects are in it. Do so in a process of its own.

    Raises:
        Refusal: as for `measure`, there is no GPU, or the system does not tell how far a process grew.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check(setup, device, way, steps)
    if device == "cuda" and not torch.cuda.is_available():
        raise refusal("device", "one that is here", device, "Take 'cpu', or measure without allocating: `measure`.")
    if by_process and (device != "cpu" or not CLEAR_REFS.exists()):
        raise refusal("by_process", "False on a GPU, and on systems other than Linux", by_process)
    started_s = time.perf_counter()
    torch.manual_seed(0)
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    with torch.device(device):
        model = building.build(config, setup, fake=False)
    model = _prepared(model, setup, way)
    taken = _steps(model, setup, way, as_on_cuda=False)
    gc.collect()
    ways = {CUDA: _on_gpu, CPU: _on_cpu, PROCESS: _of_process}
    counted = CUDA if device == "cuda" else PROCESS if by_process else CPU
    held, peak = ways[counted](model, taken, steps)
    return Measured(peak - before, held - before, counted, *counts(model), time.perf_counter() - started_s)


def _on_gpu(model: nn.Module, taken: OurSteps | UsualSteps, steps: int) -> tuple[int, int]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    taken.take(steps)
    torch.cuda.synchronize()
    return held, torch.cuda.max_memory_allocated()


def _on_cpu(model: nn.Module, taken: OurSteps | UsualSteps, steps: int) -> tuple[int, int]:
    held = _held(model)
    return held, held + on_cpu(taken, steps)


def on_cpu(taken: OurSteps | UsualSteps, steps: int) -> int:
    """By how much steps went beyond what there was before, in the allocator's account of blocks given out and back."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        taken.take(steps)
    events = profile.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]" and event.device_type().name == "CPU"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate((event.nbytes() for event in changes), initial=0))


def _of_process(model: nn.Module, taken: OurSteps | UsualSteps, steps: int) -> tuple[int, int]:
    """Bytes of the model, and by how much the resident memory grew beyond what it was with the model alone."""
    held = _held(model)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # building left freed memory that the steps would fill unseen
    CLEAR_REFS.write_text("5")  # the highest resident memory counts from here
    before_gib = resident_peak_gib()
    taken.take(steps)
    return held, held + round((resident_peak_gib() - before_gib) * GIB)


def _held(model: nn.Module) -> int:
    with LiveBytes(model) as live:
        return live.before_bytes


def _prepared(model: nn.Module, setup: Setup, way: str) -> nn.Module:
    return (building.prepare if way == "ours" else building.prepare_by_peft)(model, setup)


def _steps(model: nn.Module, setup: Setup, way: str, as_on_cuda: bool) -> OurSteps | UsualSteps:
    return OurSteps(model, setup, as_on_cuda) if way == "ours" else UsualSteps(model, setup)


def _answers(labels: int) -> dict:
    """What fake tensors cannot tell: how many labels there are, and what a number is; and, sooner, where they are."""
    operators, here = torch.ops.aten, torch.device("cpu")
    return {torch.ops.prim.device.default: lambda x: here,  # asked for more often than all else together
            operators.nonzero.default: lambda x: torch.empty(labels, x.dim(), dtype=torch.int64),
            operators._local_scalar_dense.default: lambda x: 1.0 if x.is_floating_point() else 1}


def _paged(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """State that bitsandbytes keeps in memory of the host, from which a GPU fetches it."""
    return [state[name] for parameter, state in optimizer.state.items() for name in ("state1", "state2")
            if name in state and parameter.numel() >= PAGED_FROM]


def _notes(setup: Setup) -> tuple[str, ...]:
    notes = ["a CUDA device modelled by fake tensors of the CPU, counted in blocks of 512 bytes, without the libraries'"
             " own memory", on_cuda.NOTES[setup.attention]]
    if setup.quantization == "int8":
        notes.append("8-bit products: no column is an outlier")
    if setup.mixed:
        notes.append("mixed precision: torch's rules for CPUs, which leave fewer operators in float32 than those for "
                     "CUDA")
    if setup.optimizer.startswith("paged"):
        notes.append("paged optimizer state: all of it in the host's memory")
    return tuple(notes)


def _check(setup: Setup, device: str, way: str, steps: int) -> None:
    for name, value, known in (("device", device, DEVICES), ("way", way, WAYS)):
        if value not in known:
            raise unknown(name, value, known)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise refusal("steps", "a whole number, 1 or more", steps)
    if way == "peft" and setup.logits != "all":
        raise refusal("logits", "'all' with way='peft'", setup.logits, "So Trainer computes its loss.")
    if setup.ranks > 1:
        raise refusal("ranks", "1", setup.ranks, "One of several is measured by `ranks.measure_rank`.")
