"""The modules of a layer on a ledger: norms, matrices plain and quantised, LoRA beside them, adapters behind them.

Line by line what transformers, bitsandbytes, peft and `ftkit.lora` do, as far as memory goes. Knows nothing about how
modules make a model.
"""

from dataclasses import dataclass

from ftkit.memory import ops
from ftkit.memory.counting import BLOCK
from ftkit.memory.ledger import Leaf, Ledger, Tensor, made, scratch
from ftkit.memory.ops import FLOAT


@dataclass
class Matrix:
    """A linear module: its weight, what stands beside it, and how it is computed.

    Args:
        weight: of `inside` times `outside` numbers, whatever bytes hold them.
        bias: None without.
        outside: numbers out.
        quantised: "nf4", "fp4", "int8" or "".
        compute: bytes of the numbers that a quantised matrix computes in.
        double: whether the scales of a quantised one are quantised.
        factors: A and B of a LoRA, None without.
        dropout: of the LoRA's input.
        peft: computed as peft does it, else as ftkit.
        cast: bytes that mixed precision casts to, 0 without.
    """

    weight: Tensor
    bias: Tensor | None
    outside: int
    quantised: str = ""
    compute: int = 2
    double: bool = True
    factors: tuple[Tensor, Tensor] | None = None
    dropout: float = 0.0
    peft: bool = False
    cast: int = 0


def linear(ledger: Ledger, x: Tensor, matrix: Matrix) -> Tensor:
    """What a linear module makes of x, LoRA included."""
    if matrix.factors is None:
        return _base(ledger, x, matrix)
    if _is_plain(x, matrix):
        return _low_rank(ledger, x, matrix)
    y = _base(ledger, x, matrix)
    if matrix.peft and matrix.quantised:
        y = ops.copied(ledger, y)
    kept = x if matrix.peft and matrix.cast else ops.to(ledger, x, FLOAT)
    kept, (first, second) = ops.dropout(ledger, kept, matrix.dropout), matrix.factors
    low = _product(ledger, kept, first, None, second.numel // matrix.outside, matrix.cast)
    del kept
    addition = _product(ledger, low, second, None, matrix.outside, matrix.cast)
    del low
    if matrix.peft:
        addition = ops.scaled(ledger, addition)
        if matrix.quantised:
            addition = ops.to(ledger, addition, y.kind)
        return ops.to(ledger, ops.add(ledger, y, addition), y.kind)
    addition = ops.scaled_(ledger, addition)
    if addition.kind == y.kind:
        return ops.add_(ledger, addition, y)
    return ops.to(ledger, ops.add(ledger, y, addition), y.kind)


def rms_norm(ledger: Ledger, x: Tensor, weight: Tensor) -> Tensor:
    """The root-mean-square norm as transformers writes it: in float32, then back."""
    kind, states = x.kind, ops.to(ledger, x, FLOAT)
    inverse = _inverse_root(ledger, states, weight.numel)
    states = ops.mul(ledger, states, inverse)
    del inverse
    back = ops.to(ledger, states, kind)
    return ops.mul(ledger, weight, back)


def gemma_norm(ledger: Ledger, x: Tensor, weight: Tensor) -> Tensor:
    """The same as Gemma has it: the weight, plus one, comes in before the way back to the type of x."""
    states = ops.to(ledger, x, FLOAT)
    out = ops.mul(ledger, states, _inverse_root(ledger, states, weight.numel))
    del states
    out = ops.mul(ledger, out, ops.plus_one(ledger, ops.to(ledger, weight, FLOAT)))
    return ops.to(ledger, out, x.kind)


def layer_norm(ledger: Ledger, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """torch's own layer norm: x and two numbers a row are saved."""
    rows, sizes = x.numel // weight.numel, [x.numel * x.kind, weight.numel * weight.kind]
    inputs = [x, weight] if bias is None else [x, weight, bias]

    def back(grads: list, wants: list[bool]) -> list:
        return [scratch(ledger, size) if want else None for size, want in
                zip((sizes + sizes[1:])[:len(wants)], wants, strict=True)]

    statistics = [ops.Storage(ledger, rows * FLOAT, ledger.part) for _ in range(2)]
    return made(ledger, x.numel, x.kind, inputs, back, [x.store, *statistics])


def bottleneck(ledger: Ledger, h: Tensor, down: Matrix, up: Matrix, curve: str) -> Tensor:
    """A bottleneck adapter behind a part of a layer."""
    kept = linear(ledger, ops.to(ledger, h, FLOAT), down)
    kept = ops.activation(ledger, kept, curve)
    added = linear(ledger, kept, up)
    del kept
    return ops.add(ledger, h, ops.to(ledger, added, h.kind))


def _inverse_root(ledger: Ledger, states: Tensor, width: int) -> Tensor:
    """1/√(mean of squares): the squares pass by, one number a row stays."""
    squares = ops.power(ledger, states)
    return ops.averaged(ledger, squares, states.numel // width)


def _base(ledger: Ledger, x: Tensor, matrix: Matrix) -> Tensor:
    if matrix.quantised == "int8":
        return _eight_bit(ledger, x, matrix)
    if matrix.quantised:
        kind = x.kind
        return ops.to(ledger, _four_bit(ledger, ops.to(ledger, x, matrix.compute), matrix), kind)
    return _product(ledger, x, matrix.weight, matrix.bias, matrix.outside, matrix.cast)


def _product(ledger: Ledger, x: Tensor, weight: Tensor, bias: Tensor | None, outside: int, cast: int) -> Tensor:
    """A product with a floating-point matrix; mixed precision casts both sides first."""
    if cast:
        trained = isinstance(weight.edge, Leaf)
        x, weight = ops.to(ledger, x, cast), ops.to(ledger, weight, cast)
        bias = bias if bias is None else ops.to(ledger, bias, cast)
        if trained and ledger.where[0] == "forward":
            ledger.casts += [one.store for one in (weight, bias) if one is not None]
    return ops.linear(ledger, x, weight, bias, outside)


def _four_bit(ledger: Ledger, x: Tensor, matrix: Matrix) -> Tensor:
    """bitsandbytes' product: the matrix is there in floating point while it is used, forward and again backward."""
    numel, kind, x_bytes, outside = matrix.weight.numel, x.kind, x.numel * x.kind, matrix.outside
    scales = 4 * -(-numel // BLOCK) if matrix.double else 0

    def back(grads: list, wants: list[bool]) -> list:
        if not wants[0]:
            return [None, *(scratch(ledger, outside * kind) for _ in wants[1:])]
        unpacked = scratch(ledger, scales)
        weight = scratch(ledger, numel * kind)
        del unpacked
        grad = scratch(ledger, x_bytes)
        del weight
        return [grad, *(scratch(ledger, outside * kind) for _ in wants[1:])]

    unpacked = scratch(ledger, 2 * scales), scratch(ledger, numel * kind)
    inputs = [x] if matrix.bias is None else [x, matrix.bias]
    y = made(ledger, x.numel // (numel // outside) * outside, kind, inputs, back)
    del unpacked
    return y


def _eight_bit(ledger: Ledger, x: Tensor, matrix: Matrix) -> Tensor:
    """bitsandbytes' LLM.int8() product: x is held, in its own type, as long as the graph is."""
    numel, kind, x_bytes, outside = matrix.weight.numel, x.kind, x.numel * x.kind, matrix.outside
    count = x.numel // (numel // outside) * outside

    def back(grads: list, wants: list[bool]) -> list:
        if not wants[0]:
            return [None, *(scratch(ledger, outside * kind) for _ in wants[1:])]
        weight = scratch(ledger, numel * kind)
        grad = scratch(ledger, x_bytes)
        del weight
        return [grad, *(scratch(ledger, outside * kind) for _ in wants[1:])]

    halves, codes = scratch(ledger, x.numel * 2), scratch(ledger, x.numel)
    outliers = scratch(ledger, x.numel * 2), scratch(ledger, x.numel)  # magnitudes, and whether they are large
    del halves, outliers
    sums = scratch(ledger, count * FLOAT), scratch(ledger, count * 2)
    inputs = [x] if matrix.bias is None else [x, matrix.bias]
    y = made(ledger, count, kind, inputs, back, held=[x.store])
    del codes, sums
    return y


def _low_rank(ledger: Ledger, x: Tensor, matrix: Matrix) -> Tensor:
    """`low_rank.low_rank_linear`: both paths in one product, with x and the narrow middle saved."""
    first, second = matrix.factors
    rank = second.numel // matrix.outside
    rows, x_bytes = x.numel * rank // first.numel, x.numel * x.kind
    y_numel = rows * matrix.outside

    def back(grads: list, wants: list[bool]) -> list:
        grad = scratch(ledger, x_bytes) if wants[0] else None
        low = scratch(ledger, rows * rank * FLOAT)
        made_here = [scratch(ledger, first.numel * FLOAT), scratch(ledger, second.numel * FLOAT)]
        del low
        return [grad, *made_here]

    low = ops.Storage(ledger, rows * rank * FLOAT, ledger.part)
    return made(ledger, y_numel, x.kind, [x, first, second], back, [x.store, low])


def _is_plain(x: Tensor, matrix: Matrix) -> bool:
    trained = matrix.weight.edge is not None or (matrix.bias is not None and matrix.bias.edge is not None)
    return (not matrix.peft and not matrix.quantised and not matrix.dropout and not matrix.cast and not trained
            and x.kind == matrix.weight.kind == FLOAT)
