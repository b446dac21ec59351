"""How many numbers a method trains, and how many bytes a model's weights take. Knows nothing about activations."""

from dataclasses import dataclass

from ftkit.memory.chosen import Chosen, Layer, chosen, lora_size
from ftkit.memory.setup import TYPES, Setup
from ftkit.memory.shape import Linear, Shape

BLOCK, NESTED_BLOCK = 64, 256  # weights that share a scale, scales that share one of theirs, in bitsandbytes
CODEBOOK_BYTES, NESTED_CODEBOOK_BYTES = 16 * 4, 256 * 4 + 4  # beside each weight; with the offset of its scales


@dataclass(frozen=True)
class Counts:
    """Numbers of a prepared model.

    Args:
        trainable: those that are trained.
        total: all, what the method adds included.
        by: the trained ones by what they are.
    """

    trainable: int
    total: int
    by: dict[str, int]

    @property
    def share(self) -> float:
        """The trained ones of all."""
        return self.trainable / self.total


def count(shape: Shape, setup: Setup) -> Counts:
    """How many numbers the setup's method trains in a model of this shape, exactly.

    Example:
        >>> from ftkit.memory.models import model_named
        >>> names = ("q_proj", "k_proj", "v_proj", "o_proj")
        >>> count(model_named("llama-2-7b").shape, Setup("lora", {"rank": 8, "target_modules": names})).trainable
        8388608

    Taught in: 09_memory_and_cost
    """
    found = chosen(shape, setup)
    added = {"adapters": sum(_added(shape, one, setup) for one in found.layers) + _outer(shape, found),
             "virtual tokens": sum(found.virtual), "copies": shape.vocab * shape.hidden * len(found.copied)}
    own = {"layers": sum(_trained(shape, one) for one in found.layers),
           "embeddings and head": shape.outside_parameters if found.outside else _last_bias(shape, found)}
    trained = {name: number for name, number in (own | added).items() if number}
    return Counts(sum(trained.values()), shape.parameters + sum(added.values()), trained)


def lora_parameters(shape: Shape, rank: int, target_modules: str | tuple[str, ...] = "all-linear",
                    layers: str | tuple[int, ...] = "all") -> int:
    """How many numbers a LoRA trains.

    Args:
        rank: 1 or more.
        target_modules: endings of the names of matrices, or "all-linear".
        layers: "all", "first 2", "last 6", or places counted from 0.
    """
    setup = Setup("lora", {"rank": rank, "target_modules": target_modules, "layers": layers})
    return count(shape, setup).trainable


def bytes_of_linear(linear: Linear, setup: Setup, quantised: bool) -> dict[str, int]:
    """Bytes of one matrix and its bias, by type.

    Example:
        >>> linear = Linear("q_proj", 4096, 4096, False, "attention")
        >>> bytes_of_linear(linear, Setup("qlora"), True)
        {'nf4 codes': 8388608, 'nf4 scales': 267332}
    """
    numbers, bias = linear.inside * linear.outside, linear.outside * linear.bias
    other = {held_type(setup): bias * TYPES[held_type(setup)]} if bias else {}
    if not quantised:
        kind = setup.precision if setup.quantization else held_type(setup)
        return {kind: (numbers + bias) * TYPES[kind]} if kind == held_type(setup) else {kind: numbers *
                                                                                        TYPES[kind]} | other
    if setup.quantization == "int8":
        return {"int8 codes": numbers, "int8 scales": 4 * linear.outside} | other
    blocks = -(-numbers // BLOCK)
    scales = blocks + 4 * -(-blocks // NESTED_BLOCK) + NESTED_CODEBOOK_BYTES if setup.double_quant else 4 * blocks
    kind = setup.quantization
    return {f"{kind} codes": -(-numbers // 2), f"{kind} scales": scales + CODEBOOK_BYTES} | other


def weight_bytes(shape: Shape, setup: Setup) -> dict[str, int]:
    """Bytes of a model's own weights as they are held, by type: what a method adds is left out.

    Example:
        >>> from ftkit.memory.models import model_named
        >>> weight_bytes(model_named("llama-2-7b").shape, Setup("full"))
        {'bfloat16': 13476831232}
    """
    found, sums = chosen(shape, setup), {}
    for layer in found.layers:
        for linear in shape.linears:
            for kind, size in bytes_of_linear(linear, setup, linear.name in layer.quantised).items():
                sums[kind] = sums.get(kind, 0) + size
    held = held_type(setup)
    others = shape.outside_parameters + shape.layers * sum(one.parameters for one in shape.norms)
    sums[held] = sums.get(held, 0) + others * TYPES[held]
    return sums


def cache_bytes(shape: Shape, setup: Setup) -> int:
    """Keys and values of the setup's rows that a model holds when it answers: none of it is there in training.

    Example:
        >>> from ftkit.memory.models import model_named
        >>> cache_bytes(model_named("llama-2-7b").shape, Setup(seq_len=4096)) / 2**30
        2.0
    """
    tokens = setup.batch_size * setup.seq_len
    return 2 * shape.layers * shape.cached_heads * shape.head_dim * tokens * TYPES[setup.precision]


def held_type(setup: Setup) -> str:
    """The type of embeddings, norms, biases and head: float32 after peft's cast."""
    return "float32" if setup.float32_cast else setup.precision


def _trained(shape: Shape, layer: Layer) -> int:
    numbers = 0
    for one in shape.linears:
        numbers += one.inside * one.outside if one.name in layer.trained else 0
        numbers += one.outside * one.bias if one.name in layer.trained or layer.biases else 0
    for one in shape.norms:
        numbers += one.width if one.name in layer.trained else 0
        numbers += one.width * one.bias if one.name in layer.trained or layer.biases else 0
    return numbers


def _added(shape: Shape, layer: Layer, setup: Setup) -> int:
    numbers = sum(lora_size(one, layer.ranks[one.name]) for one in shape.linears if one.name in layer.ranks)
    if layer.adapters:
        middle = setup.setting("bottleneck")
        numbers += len(layer.adapters) * (2 * shape.hidden * middle + middle + shape.hidden)
    return numbers


def _outer(shape: Shape, found: Chosen) -> int:
    return sum(rank * (shape.vocab + shape.hidden) for rank in found.ranks.values())


def _last_bias(shape: Shape, found: Chosen) -> int:
    return shape.final_norm.width if found.final_bias and shape.final_norm and shape.final_norm.bias else 0
