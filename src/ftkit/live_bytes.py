"""Which tensors are alive while something is computed, how many bytes they take, and what they are there for.

Knows nothing about training loops, models of any family or devices: it watches operators and the storages they make.
"""

import itertools
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd import graph
from torch.autograd.function import BackwardCFunction
from torch.nn.modules import module as hooks
from torch.optim import optimizer as optimizer_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from ftkit.errors import refusal, unknown

KINDS = ("parameters", "buffers", "gradients", "optimizer", "activations", "temporaries", "inputs")
PHASES = ("forward", "backward", "recompute", "step")


@dataclass(frozen=True)
class Held:
    """A storage that was alive at a peak: its bytes, its kind, and by which operator in which module it was made."""

    bytes: int
    kind: str
    operator: str
    place: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Peak:
    """The most bytes that were alive at once.

    Args:
        bytes: how many.
        by: the same by kind; the values add up to it.
        phase: one of `PHASES`.
        place: the module that ran, empty outside of all.
        operator: the operator that made the last storage.
        held: what was alive, largest first.
    """

    bytes: int
    by: dict[str, int]
    phase: str
    place: str
    operator: str
    held: list[Held]


class _Storage:
    """A storage from the moment it was made, or first seen, to its end; times are numbers of changes."""

    __slots__ = ("bytes", "kind", "born", "died", "phase", "region", "died_in", "operator", "place", "shape", "dtype",
                 "ref")


class LiveBytes(TorchDispatchMode):
    """While open, follows every storage that an operator makes or sees, until it is freed; views are counted once.

    It works with real tensors, and under torch's `FakeTensorMode`, which allocates nothing, with the tensors of models
    of any size: open it inside that mode. What an operator allocates and frees within itself is not seen.

    Kinds: *parameters* and *buffers* of the owners, with the scales of quantised weights; *gradients* of parameters;
    *optimizer* state; *activations*, made in a forward pass, or in one that is computed again, and kept after it;
    *temporaries*, all else that is made, gradients of activations too; *inputs*, there before and nobody's.

    Where several gradients of one tensor meet, autograd's engine adds them in place, but makes a new tensor while any
    mode like this one is open. By default such a sum takes over the bytes of the one that it frees.

    Args:
        owners: modules and optimizers whose tensors are there from the beginning, and tensors to count as inputs.
        granule_bytes: storages are counted in multiples of it.
        as_engine: count those sums as made in place; False counts what torch's own `MemTracker` counts.

    Raises:
        Refusal: a granule below 1 byte, or an owner of another kind.

    Example:
        >>> x = torch.ones(256, requires_grad=True)
        >>> with LiveBytes(x) as live:
        ...     loss = (x * x).exp().sum()
        ...     del loss
        >>> live.peak().bytes, live.now_bytes  # x, its square and that one's exponential; then x alone
        (3072, 1024)

    Source: the same idea as torch.distributed._tools.mem_tracker, which refuses frozen parameters.

    Taught in: 09_memory_and_cost
    """

    def __init__(self, *owners: nn.Module | torch.optim.Optimizer | torch.Tensor, granule_bytes: int = 1,
                 as_engine: bool = True):
        super().__init__()
        if isinstance(granule_bytes, bool) or not isinstance(granule_bytes, int) or granule_bytes < 1:
            raise refusal("granule_bytes", "a whole number, 1 or more", granule_bytes, "CUDA's is 512.")
        for owner in owners:
            if not isinstance(owner, nn.Module | torch.optim.Optimizer | torch.Tensor):
                raise refusal("an owner", "a module, an optimizer or a tensor", type(owner).__name__)
        self._owners, self._granule, self._as_engine = owners, granule_bytes, as_engine
        self._storages: list[_Storage] = []
        self._alive: dict[int, _Storage] = {}  # by the address of the storage's object
        self._changes: list[int] = []  # bytes that came to be alive, or ceased, in order
        self._phases: list[int] = []  # of each change
        self._places: list[str] = []  # of the modules that are running, outermost first
        self._paths: dict[int, str] = {}
        self._phase, self._region, self._stepping, self._sum = 0, 0, False, None
        self.now_bytes = self.before_bytes = 0

    def __enter__(self) -> "LiveBytes":
        for owner in self._owners:
            self._own(owner)
        self.before_bytes = self.now_bytes
        self._hooks = [
            hooks.register_module_forward_pre_hook(self._into),
            hooks.register_module_forward_hook(self._out_of, always_call=True),
            optimizer_hooks.register_optimizer_step_pre_hook(lambda *_: self._step(None)),
            optimizer_hooks.register_optimizer_step_post_hook(lambda one, *_: self._step(one)),
            *(parameter.register_post_accumulate_grad_hook(lambda one: self._label([one.grad], "gradients"))
              for owner in self._owners if isinstance(owner, nn.Module)
              for parameter in owner.parameters() if parameter.requires_grad)]
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        self._alive.clear()  # and with it what would be told of their ends

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, self._sum = kwargs or {}, None
        phase = self._phase_now()
        if phase != self._phase:
            self._phase, self._region = phase, self._region + 1
        for tensor in _tensors_in((args, tuple(kwargs.values()))):
            self._see(tensor, "inputs", "")
        result = func(*args, **kwargs)
        made = [self._see(tensor, None, func.__name__) for tensor in _tensors_in(result)]
        if self._as_engine and phase == 1 and func is torch.ops.aten.add.Tensor and _is_engines_own():
            self._sum = made[0], {_address(tensor) for tensor in args if isinstance(tensor, torch.Tensor)}
        return result

    def peak(self, phase: str | None = None) -> Peak:
        """The highest moment of all, or of one phase.

        Args:
            phase: "forward", "backward", "recompute" (a forward pass done again within the backward pass), "step" (what
                comes after it: clipping, optimizer), or None.

        Raises:
            Refusal: an unknown phase, or one in which nothing was made.
        """
        if phase is not None and phase not in PHASES:
            raise unknown("phase", phase, PHASES)
        totals = self.history()
        times = [time for time, one in enumerate(self._phases) if phase is None or PHASES[one] == phase]
        if not times:
            raise refusal("phase", "one in which tensors were made", phase, "Run something while it is open.")
        time = max(times, key=totals.__getitem__)
        alive = [one for one in self._storages if one.born <= time and (one.died is None or one.died > time)]
        held = sorted((Held(one.bytes, _kind(one), one.operator, one.place, one.shape, one.dtype) for one in alive),
                      key=lambda one: -one.bytes)
        last = max(alive, key=lambda one: one.born)
        by = {kind: sum(one.bytes for one in held if one.kind == kind) for kind in KINDS}
        return Peak(totals[time], by, PHASES[self._phases[time]], last.place, last.operator, held)

    def history(self) -> list[int]:
        """The bytes alive after each change: one for each storage that was made or freed."""
        return list(itertools.accumulate(self._changes))

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases in which anything was made or freed."""
        return tuple(PHASES[one] for one in sorted(set(self._phases)))

    def forget(self, tensors: Iterable[torch.Tensor]) -> None:
        """Counts these storages as though they had never been: they lie in some other memory."""
        for tensor in tensors:
            one = self._see(tensor, None, "")
            self._changes[one.born], one.bytes, self.now_bytes = 0, 0, self.now_bytes - one.bytes

    def _own(self, owner: nn.Module | torch.optim.Optimizer | torch.Tensor) -> None:
        if isinstance(owner, torch.Tensor):
            self._see(owner, "inputs", "")
        elif isinstance(owner, torch.optim.Optimizer):
            self._label(_state_of(owner), "optimizer")
        else:
            for path, module in owner.named_modules():
                self._paths[id(module)] = path
                for name, parameter in module.named_parameters(recurse=False):
                    self._label([parameter, *_attached(parameter)], "parameters", f"{path}.{name}")
                    self._label([parameter.grad], "gradients", f"{path}.{name}")
                self._label(_attached(module), "parameters", path)
                self._label(module.buffers(recurse=False), "buffers", path)

    def _label(self, tensors: Iterable[torch.Tensor | None], kind: str, place: str = "") -> None:
        for tensor in tensors:
            if tensor is not None:
                self._see(tensor, kind, "", place).kind = kind

    def _see(self, tensor: torch.Tensor, kind: str | None, operator: str, place: str | None = None) -> _Storage:
        """What is known of a tensor's storage; it is taken down if it is new."""
        address = _address(tensor)
        known = self._alive.get(address)
        if known is not None:
            return known
        storage, one = tensor.untyped_storage(), _Storage()
        one.bytes = -(-storage.nbytes() // self._granule) * self._granule
        one.kind, one.operator, one.died, one.died_in = kind, operator, None, -1
        one.place = place if place is not None else (self._places[-1] if self._places else "")
        one.shape, one.dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        one.phase, one.region, one.born = self._phase, self._region, self._change(one.bytes)
        one.ref = weakref.ref(storage, lambda _: self._gone(address))
        self._alive[address] = one
        self._storages.append(one)
        return one

    def _gone(self, address: int) -> None:
        one = self._alive.pop(address, None)
        if one is None:
            return
        one.ref, one.died_in, one.died = None, self._region, self._change(-one.bytes)
        if self._sum is not None and address in self._sum[1]:  # added in place: what it frees is what it takes
            result, self._sum = self._sum[0], None
            self._changes[result.born], self._changes[one.died] = -one.bytes, result.bytes
            result.born, one.died = one.died, result.born

    def _change(self, by: int) -> int:
        self.now_bytes += by
        self._changes.append(by)
        self._phases.append(self._phase)
        return len(self._changes) - 1

    def _phase_now(self) -> int:
        """Which of `PHASES` it is; in a custom function's forward gradients are off, but a module runs around it."""
        in_module = bool(self._places) or torch.is_grad_enabled()
        if torch._C._current_graph_task_id() != -1:
            return 2 if in_module else 1
        return 0 if in_module and not self._stepping else 3

    def _step(self, done: torch.optim.Optimizer | None) -> None:
        self._stepping = done is None
        if done is not None:
            self._label(_state_of(done), "optimizer")

    def _into(self, module: nn.Module, inputs: object) -> None:
        self._places.append(self._paths.get(id(module), type(module).__name__))

    def _out_of(self, *called: object) -> None:
        if self._places:  # empty where the module was running when this was opened
            self._places.pop()


def _kind(one: _Storage) -> str:
    if one.kind is not None:
        return one.kind
    kept = one.died_in != one.region
    return "activations" if kept and PHASES[one.phase] in ("forward", "recompute") else "temporaries"


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _is_engines_own() -> bool:
    """Whether autograd's engine computes this for itself: no backward function written in Python stands between."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not BackwardCFunction.apply.__code__:
        if frame.f_code is graph._engine_run_backward.__code__:
            return True
        frame = frame.f_back
    return False


def _tensors_in(values: object) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors_in(value)


def _state_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]


def _attached(owner: nn.Module | nn.Parameter) -> list[torch.Tensor]:
    """The tensors that bitsandbytes and our own quantised layers keep beside a weight: scales, and scales of scales."""
    held = vars(owner)
    states = [held.get("quant_state"), getattr(held.get("quant_state"), "state2", None), held.get("state")]
    beside = [value for state in states if hasattr(state, "__dict__") for value in vars(state).values()]
    return [value for value in (*beside, held.get("CB"), held.get("SCB")) if isinstance(value, torch.Tensor)]
