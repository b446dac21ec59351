"""The head and the loss on a ledger: at label positions, in chunks, or at all positions.

Knows nothing about layers.
"""

from ftkit.memory import layers, ops
from ftkit.memory.building import Decoder
from ftkit.memory.ledger import Storage, Tensor, made, scratch

FLOAT = 4
CHUNK_LOGITS = 2**25  # the most at a time where a loss is computed in chunks


def loss_at(decoder: Decoder, states: Tensor) -> Tensor:
    """The loss of the last states, a tensor of one number.

    Args:
        states: of all places of a micro-batch.
    """
    ledger, shape, setup = decoder.ledger, decoder.shape, decoder.setup
    count = setup.batch_size * setup.seq_len if setup.logits == "all" else setup.label_tokens
    if setup.logits == "chunked":
        return _chunked(decoder, states, count)
    if setup.logits == "labels":
        states = ops.picked(ledger, states, count * shape.hidden)
    logits = layers.linear(ledger, states, decoder.head)
    if shape.softcap:
        logits = ops.scaled(ledger, ops.activation(ledger, ops.scaled(ledger, logits), "tanh"))
    wide = ops.to(ledger, logits, FLOAT)
    return _cross_entropy(decoder, wide)


def _cross_entropy(decoder: Decoder, logits: Tensor) -> Tensor:
    """log softmax, whose result is saved, and one number of each row."""
    ledger = decoder.ledger
    logs = ops.softmax(ledger, logits, FLOAT)
    size = logs.numel * FLOAT
    return made(ledger, 1, FLOAT, [logs], lambda grads, wants: [scratch(ledger, size)])


def _chunked(decoder: Decoder, states: Tensor, count: int) -> Tensor:
    """The loss some label positions at a time: the gradient of their states is made in the forward pass."""
    ledger, shape = decoder.ledger, decoder.shape
    chunk = min(count, max(1, CHUNK_LOGITS // shape.vocab))
    picked = ops.picked(ledger, states, count * shape.hidden)
    logits = Storage(ledger, chunk * shape.vocab * (picked.kind if picked.kind < FLOAT else 0), "logits")
    wide = [Storage(ledger, chunk * shape.vocab * FLOAT, "logits") for _ in range(2)]
    del logits, wide
    size = picked.numel * picked.kind
    kept = Storage(ledger, size, "logits")
    return made(ledger, 1, FLOAT, [picked], lambda grads, wants: [scratch(ledger, size)], [kept])
