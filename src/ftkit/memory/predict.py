"""The memory of a training, predicted: its peak, what is alive there, and what each layer keeps.

An optimizer step is gone through on a ledger of live bytes, tensor by tensor, from a config alone. Knows nothing about
cards and what fits on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ftkit.errors import refusal, unknown
from ftkit.memory.building import Decoder, built
from ftkit.memory.counting import count, weight_bytes
from ftkit.memory.ledger import PARTS, Ledger, Storage, Tensor, backward, scratch
from ftkit.memory.ops import FLOAT
from ftkit.memory.passing import loss_of
from ftkit.memory.setup import Setup
from ftkit.memory.shape import Shape, shape_of

CUDA_CONTEXT_BYTES = 500 * 2**20
SMALLEST_8BIT, BLOCK_8BIT = 4096, 256  # numbers from which on bitsandbytes quantises states; numbers to a scale
WAYS = ("ours", "peft")


@dataclass(frozen=True)
class Memory:
    """What a training takes.

    Args:
        peak_bytes: of live tensors at the highest moment, each rounded up to what CUDA's allocator hands out.
        moment: which that is.
        parts: bytes at that moment by what they are for; they add up to the peak.
        moments: the highest of each pass: forward, loss, backward, optimizer.
        activations: bytes that each layer keeps for its backward pass, bottom first.
        weights: bytes of the model's own weights by type.
        trainable: numbers that are trained.
        total: all numbers.
        cuda_bytes: what CUDA itself takes beside all tensors: a figure to allow for, not a prediction.
    """

    peak_bytes: int
    moment: str
    parts: dict[str, int]
    moments: dict[str, int]
    activations: tuple[int, ...]
    weights: dict[str, int]
    trainable: int
    total: int
    cuda_bytes: int = CUDA_CONTEXT_BYTES

    @property
    def needed_bytes(self) -> int:
        """The peak and what CUDA takes: what a card must have free."""
        return self.peak_bytes + self.cuda_bytes


def predict(model: Shape | Mapping | object, setup: Setup, way: str = "ours") -> Memory:
    """The memory that a training takes.

    Args:
        model: a shape, a config as a dict, or a model of the table.
        setup: how it is trained.
        way: "ours", as ftkit trains, or "peft" for LoRA as peft computes it.

    Raises:
        Refusal: a family, a name or a way that is not known here.

    Example:
        >>> from ftkit.memory.models import model_named
        >>> found = predict(model_named("llama-2-7b"), Setup("qlora", {"rank": 16}, checkpointing=True))
        >>> sum(found.parts.values()) == found.peak_bytes
        True

    Taught in: 09_memory_and_cost
    """
    if way not in WAYS:
        raise unknown("way", way, WAYS)
    shape = as_shape(model)
    if shape.positions and setup.seq_len > shape.positions:
        raise refusal("seq_len", f"{shape.positions} or less, the places that this model knows", setup.seq_len)
    ledger = Ledger()
    decoder = built(shape, setup, ledger, way == "peft")
    states = [*_states(decoder), *_buckets(decoder)]
    loss = _micro_batches(decoder)
    if decoder.peft:
        del loss
    _optimizer_step(decoder, states)
    counts = count(shape, setup)
    moments: dict[str, int] = {}
    for (name, _), highest in ledger.tops.items():
        moments[name] = max(highest, moments.get(name, 0))
    return Memory(ledger.peak, _words(ledger.peak_where, shape), {part: ledger.at_peak[part] for part in PARTS},
                  moments, tuple(ledger.kept_by_layer), weight_bytes(shape, setup), counts.trainable, counts.total)


def as_shape(model: Shape | Mapping | object) -> Shape:
    """The shape of a model of the table, of a config, or the shape itself."""
    if isinstance(model, Shape):
        return model
    return shape_of(model if isinstance(model, Mapping) else getattr(model, "config", model))


def _micro_batches(decoder: Decoder) -> Tensor:
    """Forward and backward, twice where gradients gather over several micro-batches.

    The last loss, which ftkit holds until its optimizer step is over, and the one before until the next is there.
    """
    ledger, loss = decoder.ledger, None
    for _ in range(min(decoder.setup.accumulation, 2)):
        loss = None if decoder.peft else loss
        loss = loss_of(decoder)
        if decoder.sharing:
            decoder.sharing.turn()
        if loss.edge is not None:
            backward(ledger, loss.edge, scratch(ledger, FLOAT))
        if decoder.sharing:
            decoder.sharing.end()
    return loss


def _states(decoder: Decoder) -> list[Storage]:
    """The optimizer's, as they are from the first step on."""
    setup = decoder.setup
    if setup.optimizer == "sgd":
        return []
    sizes = _share(setup, [_state_bytes(setup.optimizer, one) for one in decoder.trained])
    paged = setup.optimizer.startswith("paged")  # in the host's memory until the step
    return [] if paged else [Storage(decoder.ledger, size, "optimizer") for size in sizes]


def _share(setup: Setup, sizes: list[int]) -> list[int]:
    """Those states that the process has which has most: a share of each, or whole ones, the next to who has least."""
    if setup.sharding != "zero1":
        return [-(-size // setup.ranks) if setup.shares_weights else size for size in sizes]
    loads = [[0] for _ in range(setup.ranks)]
    for size in sorted(sizes, reverse=True):
        min(loads, key=sum).append(size)
    return max(loads, key=sum)


def _buckets(decoder: Decoder) -> list[Storage]:
    """Gradients in the buckets that DistributedDataParallel exchanges them in, beside the gradients themselves."""
    if decoder.setup.ranks > 1 and not decoder.sharing:
        return [Storage(decoder.ledger, sum(one.numel * one.kind for one in decoder.trained), "gradients")]
    return []


def _state_bytes(optimizer: str, parameter: Tensor) -> int:
    """Of one parameter: a moment of its own type for lion, two for adamw, in a byte each with 8 bits."""
    if optimizer == "lion":
        return parameter.numel * parameter.kind
    if optimizer.endswith("8bit") and parameter.numel >= SMALLEST_8BIT:
        return 2 * (parameter.numel + FLOAT * -(-parameter.numel // BLOCK_8BIT))
    kind = FLOAT if optimizer.endswith("8bit") else parameter.kind
    return 2 * parameter.numel * kind


def _optimizer_step(decoder: Decoder, states: list[Storage]) -> None:
    ledger, setup = decoder.ledger, decoder.setup
    ledger.where = ("optimizer", None)
    if setup.optimizer == "lion":  # a direction for each parameter, the last one's there until the next one is
        direction = None
        for one in (one for one in decoder.trained if one.numel > decoder.shape.hidden):
            direction = scratch(ledger, one.numel * one.kind)
        del direction
    if setup.optimizer.startswith("paged"):
        states += [Storage(ledger, _state_bytes(setup.optimizer, one), "optimizer") for one in decoder.trained]
    ledger.enter(0, "optimizer")  # so that this moment is looked at, too


def _words(where: tuple, shape: Shape) -> str:
    name, place = where
    names = {"forward": "forward pass", "backward": "backward pass", "optimizer": "optimizer step"}
    layer = "" if place is None else f", layer {place + 1} of {shape.layers}"
    return f"{names.get(name, name)}{layer}"
