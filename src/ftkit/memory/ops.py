"""Operators on tensors without numbers: what each makes, what it saves for the backward pass, what it makes there.

They are those that torch has, and save what torch's save. Knows nothing about models.
"""

from collections.abc import Sequence

from ftkit.memory.ledger import Ledger, Storage, Tensor, View, made, scratch, viewed

FLOAT = 4


def to(ledger: Ledger, x: Tensor, kind: int) -> Tensor:
    """The tensor with numbers of so many bytes; itself if it has them."""
    return x if x.kind == kind else made(ledger, x.numel, kind, [x], _passed)


def copied(ledger: Ledger, x: Tensor) -> Tensor:
    """A copy: of a tensor that is not laid out as wanted."""
    return made(ledger, x.numel, x.kind, [x], _passed)


def add(ledger: Ledger, x: Tensor, y: Tensor) -> Tensor:
    """The sum; nothing is saved, and the gradient goes on as it is."""
    return made(ledger, max(x.numel, y.numel), max(x.kind, y.kind), [x, y], lambda grads, wants: [grads[0], grads[0]])


def mul(ledger: Ledger, x: Tensor, y: Tensor) -> Tensor:
    """The product: each factor is saved where the other needs a gradient."""
    numel, kind = max(x.numel, y.numel), max(x.kind, y.kind)

    def back(grads: list, wants: list[bool]) -> list:
        return [scratch(ledger, numel * kind) if want else None for want in wants]

    saved = [one.store for one, other in ((x, y), (y, x)) if other.edge is not None]
    return made(ledger, numel, kind, [x, y], back, saved)


def scaled(ledger: Ledger, x: Tensor) -> Tensor:
    """A number times the tensor: nothing is saved."""
    return made(ledger, x.numel, x.kind, [x], lambda grads, wants: [scratch(ledger, grads[0].size_bytes)])


def scaled_(ledger: Ledger, x: Tensor) -> Tensor:
    """The same in place."""
    return _in_place(ledger, x, lambda grads, wants: [scratch(ledger, grads[0].size_bytes)])


def add_(ledger: Ledger, x: Tensor, y: Tensor) -> Tensor:
    """The sum in the bytes of x."""
    out = made(ledger, 0, x.kind, [x, y], lambda grads, wants: [grads[0], grads[0]])
    return _with_store(out, x)


def activation(ledger: Ledger, x: Tensor, name: str) -> Tensor:
    """A curve, number by number. Most save what goes in, relu what comes out, and gelu_new is written in many steps."""
    if name in ("gelu_new", "gelu_fast"):
        return _gelu_in_steps(ledger, x)
    y = made(ledger, x.numel, x.kind, [x], lambda grads, wants: [scratch(ledger, x_bytes)], [])
    x_bytes = x.numel * x.kind
    if y.edge is not None and not ledger.forgets:
        y.edge[0].saved = [y.store if name in ("relu", "tanh") else x.store]
    return y


def dropout(ledger: Ledger, x: Tensor, share: float) -> Tensor:
    """The tensor with some numbers zero: a mask of a byte a number is saved."""
    if not share:
        return x
    mask = Storage(ledger, x.numel, ledger.part)
    return made(ledger, x.numel, x.kind, [x], lambda grads, wants: [scratch(ledger, grads[0].size_bytes)], [mask])


def linear(ledger: Ledger, x: Tensor, weight: Tensor, bias: Tensor | None, outside: int) -> Tensor:
    """A product with a matrix: x is saved where the matrix is trained, the matrix where x needs a gradient."""
    inside = weight.numel // outside
    numel, sizes = x.numel // inside * outside, [x.numel * x.kind, weight.numel * weight.kind]
    sizes += [bias.numel * bias.kind] if bias is not None else []

    def back(grads: list, wants: list[bool]) -> list:
        return [scratch(ledger, size) if want else None for size, want in zip(sizes, wants, strict=True)]

    saved = [x.store] if weight.edge is not None else []
    saved += [weight.store] if x.edge is not None else []
    return made(ledger, numel, x.kind, [x, weight, *([bias] if bias is not None else [])], back, saved)


def matmul(ledger: Ledger, x: Tensor, y: Tensor, numel: int) -> Tensor:
    """A product of two tensors that were computed; each is saved where the other needs a gradient."""
    sizes = x.numel * x.kind, y.numel * y.kind

    def back(grads: list, wants: list[bool]) -> list:
        return [scratch(ledger, size) if want else None for size, want in zip(sizes, wants, strict=True)]

    saved = [one.store for one, other in ((x, y), (y, x)) if other.edge is not None]
    return made(ledger, numel, max(x.kind, y.kind), [x, y], back, saved)


def softmax(ledger: Ledger, x: Tensor, kind: int) -> Tensor:
    """Shares that add up to one, in numbers of so many bytes; its result is saved."""
    y = made(ledger, x.numel, kind, [x], lambda grads, wants: [scratch(ledger, grads[0].size_bytes)], [])
    if y.edge is not None and not ledger.forgets:
        y.edge[0].saved = [y.store]
    return y


def pieces(ledger: Ledger, x: Tensor, numels: Sequence[int]) -> list[Tensor]:
    """A tensor split, by one operator: on the way back the pieces' gradients are put together again."""
    x_bytes = x.numel * x.kind
    return viewed(ledger, x, numels, lambda grads, wants: [scratch(ledger, x_bytes)])


def piece(ledger: Ledger, x: Tensor, numel: int) -> Tensor:
    """A slice of a tensor; its gradient is put into one of the whole size, zero elsewhere."""
    x_bytes = x.numel * x.kind
    return viewed(ledger, x, [numel], lambda grads, wants: [scratch(ledger, x_bytes)])[0]


def joined(ledger: Ledger, *tensors: Tensor) -> Tensor:
    """Tensors side by side in a new one; on the way back each gets its piece of the gradient."""
    sizes = [one.numel * one.kind for one in tensors]

    def back(grads: list, wants: list[bool]) -> list:
        return [View(grads[0], size) for size in sizes]

    return made(ledger, sum(one.numel for one in tensors), tensors[0].kind, tensors, back)


def repeated(ledger: Ledger, x: Tensor, times: int) -> Tensor:
    """A tensor written out so many times; its gradients are summed up."""
    if times == 1:
        return x
    return made(ledger, x.numel * times, x.kind, [x], _passed)


def looked_up(ledger: Ledger, table: Tensor, count: int, width: int) -> Tensor:
    """Rows of an embedding; the gradient of the table has its whole size."""
    size = table.numel * table.kind
    return made(ledger, count * width, table.kind, [table], lambda grads, wants: [scratch(ledger, size)])


def picked(ledger: Ledger, x: Tensor, numel: int) -> Tensor:
    """Some rows of a tensor, copied out; the gradient is put into one of the whole size."""
    x_bytes = x.numel * x.kind
    return made(ledger, numel, x.kind, [x], lambda grads, wants: [scratch(ledger, x_bytes)])


def _gelu_in_steps(ledger: Ledger, x: Tensor) -> Tensor:
    """0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), as transformers writes it out."""
    half = scaled(ledger, x)
    cube = power(ledger, x)
    inner = scaled(ledger, add(ledger, x, scaled(ledger, cube)))
    del cube
    curve = activation(ledger, inner, "tanh")
    del inner
    return mul(ledger, half, plus_one(ledger, curve))


def plus_one(ledger: Ledger, x: Tensor) -> Tensor:
    """The tensor and a number added: the gradient goes on as it is."""
    return made(ledger, x.numel, x.kind, [x], _passed)


def power(ledger: Ledger, x: Tensor) -> Tensor:
    """A power of each number: x is saved; on the way back the lower power, times its exponent, times the gradient."""
    x_bytes = x.numel * x.kind

    def back(grads: list, wants: list[bool]) -> list:
        lower, times_exponent = scratch(ledger, x_bytes), scratch(ledger, x_bytes)
        return [scratch(ledger, min(lower.size_bytes, times_exponent.size_bytes))]

    return made(ledger, x.numel, x.kind, [x], back, [x.store])


def constant(ledger: Ledger, numel: int, kind: int) -> Tensor:
    """A tensor that needs no gradient."""
    return Tensor(Storage(ledger, numel * kind, ledger.part), numel, kind)


def averaged(ledger: Ledger, x: Tensor, rows: int) -> Tensor:
    """A number a row, of all in it: its gradient is spread over the row again."""
    x_bytes = x.numel * x.kind
    return made(ledger, rows, x.kind, [x], lambda grads, wants: [scratch(ledger, x_bytes)])


def _passed(grads: list, wants: list[bool]) -> list:
    return [grads[0]]


def _in_place(ledger: Ledger, x: Tensor, back) -> Tensor:
    return _with_store(made(ledger, 0, x.kind, [x], back), x)


def _with_store(out: Tensor, x: Tensor) -> Tensor:
    if out.edge is not None:
        out.edge[0].outputs[0] = x.numel * x.kind
    return Tensor(x.store, x.numel, x.kind, out.edge)
