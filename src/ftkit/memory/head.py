"""The head and the loss on a ledger: at label positions, in chunks, or at all positions.

Knows nothing about layers.
"""

from ftkit.memory import layers, ops
from ftkit.memory.building import Decoder
from ftkit.memory.ledger import Storage, Tensor, made, scratch
from ftkit.memory.ops import FLOAT

CHUNK_LOGITS = 2**25  # the most at a time where a loss is computed in chunks


def loss_of_states(decoder: Decoder, states: list[Tensor]) -> Tensor:
    """The loss, a tensor of one number.

    Args:
        states: the last ones, alone in a list, from which they are taken: they are gone once the logits are there,
            where nothing else holds them.
    """
    setup = decoder.setup
    if setup.logits == "chunked":
        return _chunked(decoder, states.pop())
    if setup.logits == "all":  # the model's own forward pass, which holds them as long as it lasts
        return _cross_entropy(decoder, _logits(decoder, states[0]))
    return _cross_entropy(decoder, _logits(decoder, _picked(decoder, states.pop())))


def _picked(decoder: Decoder, states: Tensor) -> Tensor:
    return ops.picked(decoder.ledger, states, decoder.setup.label_tokens * decoder.shape.hidden)


def _logits(decoder: Decoder, states: Tensor) -> Tensor:
    ledger = decoder.ledger
    logits = layers.linear(ledger, states, decoder.head)
    if decoder.shape.softcap:
        logits = ops.scaled(ledger, ops.activation(ledger, ops.scaled(ledger, logits), "tanh"))
    return logits


def _cross_entropy(decoder: Decoder, logits: Tensor) -> Tensor:
    """log softmax in float32, whose result is saved, and one number of each row."""
    ledger = decoder.ledger
    wide = ops.to(ledger, logits, FLOAT)
    logs = ops.softmax(ledger, wide, FLOAT)
    size = logs.numel * FLOAT
    return made(ledger, 1, FLOAT, [logs], lambda grads, wants: [scratch(ledger, size)])


def _chunked(decoder: Decoder, states: Tensor) -> Tensor:
    """The loss some label positions at a time: the gradient of their states is made in the forward pass, and kept."""
    ledger, shape, head = decoder.ledger, decoder.shape, decoder.head.weight
    count = decoder.setup.label_tokens
    chunk = min(count, max(1, CHUNK_LOGITS // shape.vocab))
    picked = _picked(decoder, states)
    del states
    sizes = [picked.numel * picked.kind, head.numel * head.kind]
    kept = [Storage(ledger, size, "logits") for size, one in zip(sizes, (picked, head), strict=True)
            if one is picked or one.edge is not None]
    _chunk(decoder, chunk * shape.vocab, decoder.cast or picked.kind)
    return made(ledger, 1, FLOAT, [picked, head], lambda grads, wants: [
        scratch(ledger, size) if want else None for size, want in zip(sizes, wants, strict=True)], kept)


def _chunk(decoder: Decoder, logits: int, kind: int) -> None:
    """A chunk's logits, their float32 copy, their gradient, and the head's; the head in mixed type."""
    ledger, head = decoder.ledger, decoder.head.weight
    cast = ops.to(ledger, head, kind)
    held = [Storage(ledger, logits * kind, "logits")]
    scores = Storage(ledger, logits * FLOAT, "logits")
    held.append(Storage(ledger, logits * kind, "logits") if kind < FLOAT else scores)
    del scores
    if head.edge is not None:
        product = scratch(ledger, head.numel * kind)
        held.append(product if kind == head.kind else scratch(ledger, head.numel * head.kind))
    del cast
