"""Attention on a ledger: rotary positions, keys and values for all heads, and four ways to attend.

Knows nothing about where queries, keys and values come from.
"""

from dataclasses import dataclass

from ftkit.memory import ops
from ftkit.memory.ledger import Ledger, Storage, Tensor, made, scratch
from ftkit.memory.ops import FLOAT

ALIGNED_ROWS = 128  # the flash kernel rounds rows up to so many places, where it sums in float32
ALIGNED_SUMS = 32  # the memory-efficient one, where it keeps one number a query


@dataclass(frozen=True)
class Attention:
    """How a model attends.

    Args:
        way: "flash", "efficient" (kernels that make scores block by block), "math" or "eager" (scores are kept).
        queries: rows times heads times places.
        keys: that each query looks at.
        groups: heads of queries to one of keys.
        head_dim: numbers of a head.
        softcap: scores are bent.
        dropout: of the shares.
        upcasts: what eager attention computes in float32: "shares", "scores" (queries and keys, too) or "" (nothing).
        cast: bytes of the numbers that mixed precision multiplies in, where plain products are written out; 0 without.
        apart: whether rows lie apart in memory, so that products copy their inputs.
    """

    way: str
    queries: int
    keys: int
    groups: int
    head_dim: int
    softcap: bool = False
    dropout: float = 0.0
    upcasts: str = "shares"
    cast: int = 0
    apart: bool = False

    @property
    def scores(self) -> int:
        """How many there are."""
        return self.queries * self.keys


def rotated(ledger: Ledger, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Queries or keys turned by their positions, as transformers writes it."""
    along = ops.mul(ledger, x, cosine)
    first, second = ops.piece(ledger, x, x.numel // 2), ops.piece(ledger, x, x.numel // 2)
    turned = ops.joined(ledger, ops.scaled(ledger, second), first)
    across = ops.mul(ledger, turned, sine)
    del turned
    return ops.add(ledger, along, across)


def partly_rotated(ledger: Ledger, x: Tensor, cosine: Tensor, sine: Tensor, share: float) -> Tensor:
    """The first numbers of each head turned, the others as they are, in a new tensor."""
    many = round(x.numel * share)
    turned = rotated(ledger, ops.piece(ledger, x, many), cosine, sine)
    return ops.joined(ledger, turned, ops.piece(ledger, x, x.numel - many))


def attend(ledger: Ledger, how: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """What attention makes of queries, keys and values.

    Args:
        mask: that is added to the scores, None where the kernel makes its own.
    """
    before, ledger.part = ledger.part, "attention"
    try:
        if how.way == "eager":
            return _eager(ledger, how, query, key, value, mask)
        if how.way == "math":
            return _math(ledger, how, query, key, value)
        return _kernel(ledger, how, query, key, value, mask)
    finally:
        ledger.part = before


def _kernel(ledger: Ledger, how: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """A kernel: it keeps inputs, output and one number a query, the logarithm of its sum."""
    groups = how.groups
    if groups > 1 and (how.way == "efficient" or mask is not None):
        key, value, groups = ops.repeated(ledger, key, groups), ops.repeated(ledger, value, groups), 1
    sizes = [one.numel * one.kind for one in (query, key, value)]
    places = how.queries // how.keys * _rounded(how.keys, ALIGNED_SUMS) if how.way == "efficient" else how.queries
    sums = Storage(ledger, places * FLOAT, ledger.part)

    def back(grads: list, wants: list[bool]) -> list:
        found = [scratch(ledger, size) if want else None for size, want in zip(sizes, wants, strict=True)]
        inside = [scratch(ledger, size) for size in _inside(how, sizes[0], groups)]
        del inside
        return found

    out = made(ledger, query.numel, query.kind, [query, key, value], back)
    if out.edge is not None and not ledger.forgets:
        out.edge[0].saved = [query.store, key.store, value.store, out.store, sums]
    return out


def _inside(how: Attention, query_bytes: int, groups: int) -> list[int]:
    """Bytes that a kernel takes within its backward pass, besides the gradients that it returns."""
    if how.way == "efficient":
        wide = query_bytes != how.queries * how.head_dim * FLOAT
        return [how.queries * FLOAT, how.queries * how.head_dim * FLOAT * wide]
    places = how.queries // how.keys * _rounded(how.keys, ALIGNED_ROWS)
    head = _rounded(how.head_dim, 32 if how.head_dim <= 128 else 64)
    found = [places * FLOAT, places * head * FLOAT]  # gradients of queries, summed up in float32
    return found + [query_bytes, query_bytes] * (groups > 1)  # of keys and values, for every head of queries


def _rounded(count: int, granule: int) -> int:
    return -(-count // granule) * granule


def _eager(ledger: Ledger, how: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scores, shares and their products, each a tensor of its own, as transformers writes it."""
    kind, key, value = query.kind, ops.repeated(ledger, key, how.groups), ops.repeated(ledger, value, how.groups)
    if how.upcasts == "scores":
        query, key = ops.to(ledger, query, FLOAT), ops.to(ledger, key, FLOAT)
    scores = ops.matmul(ledger, _factor(ledger, how, query), _factor(ledger, how, key), how.scores)
    del query, key
    scores = ops.scaled(ledger, scores)
    if how.softcap:
        scores = ops.scaled(ledger, scores)
        scores = ops.activation(ledger, scores, "tanh")
        scores = ops.scaled(ledger, scores)
    if mask is not None:
        scores = ops.add(ledger, scores, mask)
    shares = _shares(ledger, how, scores, kind)
    del scores
    shares = ops.dropout(ledger, shares, how.dropout)
    out = ops.matmul(ledger, _cast(ledger, how, shares), _factor(ledger, how, value), how.queries * how.head_dim)
    del shares
    return ops.copied(ledger, out)


def _shares(ledger: Ledger, how: Attention, scores: Tensor, kind: int) -> Tensor:
    if not how.upcasts:
        return ops.softmax(ledger, scores, scores.kind)
    return ops.to(ledger, ops.softmax(ledger, ops.to(ledger, scores, FLOAT), FLOAT), kind)


def _math(ledger: Ledger, how: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own without a kernel: everything in float32, a mask for causality, rows without any score set to zero."""
    kind = query.kind
    query, key = ops.to(ledger, query, FLOAT), ops.to(ledger, key, FLOAT)
    value = ops.repeated(ledger, ops.to(ledger, value, FLOAT), how.groups)
    key = ops.repeated(ledger, key, how.groups)
    query, key = ops.scaled(ledger, query), ops.scaled(ledger, key)
    scores = ops.matmul(ledger, _close(ledger, how, query), _close(ledger, how, key), how.scores)
    seen = Storage(ledger, how.keys * how.keys * FLOAT, ledger.part)
    del seen
    shares = ops.softmax(ledger, scores, FLOAT)
    empty = Storage(ledger, how.scores, ledger.part)  # one byte a score: is it minus infinity
    del scores, empty
    shares = ops.dropout(ledger, shares, how.dropout)
    out = ops.matmul(ledger, shares, _close(ledger, how, value), query.numel)
    return ops.to(ledger, ops.copied(ledger, out), kind)


def _factor(ledger: Ledger, how: Attention, x: Tensor) -> Tensor:
    return _close(ledger, how, _cast(ledger, how, x))


def _cast(ledger: Ledger, how: Attention, x: Tensor) -> Tensor:
    return ops.to(ledger, x, how.cast) if how.cast else x


def _close(ledger: Ledger, how: Attention, x: Tensor) -> Tensor:
    return ops.copied(ledger, x) if how.apart else x
