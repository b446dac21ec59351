"""The forward pass of a decoder on a ledger, down to the loss, line by line as transformers has it.

Knows nothing about optimizers, nor about where a peak lies.
"""

from dataclasses import dataclass

from ftkit.memory import layers, ops
from ftkit.memory.attention import Attention, attend, partly_rotated, rotated
from ftkit.memory.building import Decoder
from ftkit.memory.head import loss_of_states
from ftkit.memory.ledger import Storage, Tensor, checkpointed
from ftkit.memory.ops import FLOAT
from ftkit.memory.shape import ATTENTION, MLP
from ftkit.memory.sharing import OUTSIDE

IDS = 8  # bytes of a token's number


@dataclass
class Batch:
    """What all layers of a pass share.

    Args:
        rows: of the micro-batch.
        width: places of a row, a trained prompt included.
        front: keys that a trained prefix puts in front of each row.
        cosine: of the positions, None without rotary ones.
        mask: None where the kernel makes its own.
        pairs: keys and values of the prefix, two a layer.
    """

    rows: int
    width: int
    front: int = 0
    cosine: Tensor | None = None
    sine: Tensor | None = None
    mask: Tensor | None = None
    pairs: tuple[Tensor, ...] = ()

    @property
    def tokens(self) -> int:
        """Places of all rows."""
        return self.rows * self.width


def loss_of(decoder: Decoder) -> Tensor:
    """The loss of a micro-batch, a tensor of one number with the whole graph behind it."""
    ledger, setup = decoder.ledger, decoder.setup
    ledger.where, ledger.part = ("forward", None), "activations"
    if decoder.sharing:
        decoder.sharing.into(OUTSIDE)
    ids = Storage(ledger, setup.batch_size * setup.seq_len * IDS, "buffers")
    labels = Storage(ledger, setup.batch_size * setup.seq_len * IDS, "buffers")
    states = [_decoded(decoder)]
    ledger.where, ledger.part = ("loss", None), "logits"
    loss = loss_of_states(decoder, states)
    del ids, labels
    ledger.part, ledger.casts = "activations", []
    return loss


def _decoded(decoder: Decoder) -> Tensor:
    ledger, shape, setup = decoder.ledger, decoder.shape, decoder.setup
    tokens = setup.batch_size * setup.seq_len
    states = _embedded(decoder, tokens)
    front = setup.setting("virtual_tokens") if setup.method in ("prompt", "prefix") else 0
    batch = Batch(setup.batch_size, setup.seq_len + front * (setup.method == "prompt"),
                  front * (setup.method == "prefix"))
    if setup.method == "prompt":
        states = ops.joined(ledger, ops.repeated(ledger, ops.to(ledger, decoder.virtual[0], states.kind),
                                                 setup.batch_size), states)
    if setup.method == "prefix":
        batch.pairs = _prefix(decoder, states.kind)
    batch.mask = _mask(decoder, batch, states.kind)
    if shape.positions:
        states = ops.add(ledger, states, ops.looked_up(ledger, decoder.positions, batch.width, shape.hidden))
    states = ops.dropout(ledger, states, shape.embedding_dropout)
    if shape.rotary:
        batch.cosine, batch.sine = (ops.constant(ledger, batch.width * shape.rotary, states.kind) for _ in "cs")
    ledger.kept_by_layer = []
    for place in range(shape.layers):
        ledger.where, before = ("forward", place), ledger.live
        if decoder.sharing:
            decoder.sharing.into(place)

        def layer(x: Tensor, place: int = place) -> Tensor:
            return _layer(decoder, batch, place, x)

        states = checkpointed(ledger, layer, states) if setup.recomputes(place) else layer(states)
        if decoder.sharing:
            decoder.sharing.out_of(place)
        ledger.kept_by_layer.append(ledger.live - before)
    ledger.where = ("forward", None)
    states = _normed(decoder, states, decoder.final_norm) if decoder.final_norm else states
    if setup.method == "prompt":
        states = ops.piece(ledger, states, tokens * shape.hidden)
    return states


def _embedded(decoder: Decoder, tokens: int) -> Tensor:
    ledger, shape, table = decoder.ledger, decoder.shape, decoder.embedding
    states = ops.looked_up(ledger, table.weight, tokens, shape.hidden)
    if table.factors is not None:
        rank = table.factors[1].numel // shape.hidden
        low = ops.looked_up(ledger, table.factors[0], tokens, rank)
        added = ops.scaled(ledger, ops.linear(ledger, low, table.factors[1], None, shape.hidden))
        states = ops.to(ledger, ops.add(ledger, states, added), states.kind)
    return ops.scaled(ledger, states) if shape.scales_embedding else states


def _prefix(decoder: Decoder, kind: int) -> tuple[Tensor, ...]:
    """Keys and values of all layers: views of one tensor in the type of the model."""
    ledger, shape, parts = decoder.ledger, decoder.shape, decoder.virtual
    every = parts[0]
    if len(parts) > 1:
        inside, tokens = shape.cached_heads * shape.head_dim, decoder.setup.setting("virtual_tokens")
        width = parts[1].numel // (inside + 1)
        weights = [Tensor(one.store, one.numel // (rows + 1) * rows, one.kind, one.edge)
                   for one, rows in ((parts[1], inside), (parts[2], width))]
        middle = ops.activation(ledger, ops.linear(ledger, every, weights[0], None, width), "tanh")
        every = ops.linear(ledger, middle, weights[1], None, weights[1].numel // width)
        assert every.numel == tokens * 2 * shape.layers * inside
    every = ops.to(ledger, every, kind)
    return tuple(ops.pieces(ledger, every, [every.numel // (2 * shape.layers)] * (2 * shape.layers)))


def _mask(decoder: Decoder, batch: Batch, kind: int) -> Tensor | None:
    """The mask that is added to scores: eager attention wants one; behind a prefix every kernel does."""
    way = _way(decoder)
    if way == "eager":
        return ops.constant(decoder.ledger, batch.rows * batch.width * (batch.front + batch.width), kind)
    if batch.front:
        return ops.constant(decoder.ledger, batch.rows * batch.width * (batch.front + batch.width), 1)
    return None


def _way(decoder: Decoder) -> str:
    return decoder.shape.attends_by_itself or decoder.setup.attention


def _layer(decoder: Decoder, batch: Batch, place: int, x: Tensor) -> Tensor:
    shape, (_, norms, _) = decoder.shape, decoder.layers[place]
    if shape.parallel:
        return _side_by_side(decoder, batch, place, x)
    ledger, named = decoder.ledger, _norm_names(decoder)
    residual = x
    states = _normed(decoder, x, norms[named[0]])
    del x
    states = _attention(decoder, batch, place, states)
    if shape.after_norms:
        states = _normed(decoder, states, norms[named[1]])
    states = ops.add(ledger, residual, ops.dropout(ledger, states, shape.dropout))
    residual = states
    states = _normed(decoder, states, norms[named[-2 if shape.after_norms else 1]])
    states = ops.dropout(ledger, _mlp(decoder, place, states), shape.dropout)
    if shape.after_norms:
        states = _normed(decoder, states, norms[named[-1]])
    return ops.add(ledger, residual, states)


def _side_by_side(decoder: Decoder, batch: Batch, place: int, x: Tensor) -> Tensor:
    """Attention and MLP on the same states (gpt_neox, falcon)."""
    ledger, shape, (_, norms, _) = decoder.ledger, decoder.shape, decoder.layers[place]
    named = _norm_names(decoder)
    states = _normed(decoder, x, norms[named[0]])
    falcon = shape.qkv == "falcon"
    other = _normed(decoder, x, norms[named[1]]) if falcon and len(named) > 1 else states
    attended = ops.dropout(ledger, _attention(decoder, batch, place, states), shape.dropout)
    if not falcon:
        other = _normed(decoder, x, norms[named[1]])
        del states
    made_here = ops.dropout(ledger, _mlp(decoder, place, other), shape.dropout)
    del other
    if falcon:
        made_here = ops.add_(ledger, made_here, attended)
    else:
        made_here = ops.add(ledger, made_here, attended)
    return ops.add(ledger, made_here, x)


def _norm_names(decoder: Decoder) -> list[str]:
    """Names of the norms of the residual stream, in the order in which they come."""
    names = [one.name for one in decoder.shape.norms if "." not in one.name]
    return names[::-1] if names[:1] == ["post_attention_layernorm"] else names


def _normed(decoder: Decoder, x: Tensor, norm) -> Tensor:
    ledger, kind = decoder.ledger, decoder.shape.norm
    if kind == "layer":
        return layers.layer_norm(ledger, x, norm.weight, norm.bias)
    return (layers.gemma_norm if kind == "gemma" else layers.rms_norm)(ledger, x, norm.weight)


def _attention(decoder: Decoder, batch: Batch, place: int, x: Tensor) -> Tensor:
    ledger, shape, (matrices, norms, adapters) = decoder.ledger, decoder.shape, decoder.layers[place]
    query, key, value = _taken_apart(decoder, place, x)
    if "self_attn.q_norm" in norms:
        query = layers.rms_norm(ledger, query, norms["self_attn.q_norm"].weight)
        key = layers.rms_norm(ledger, key, norms["self_attn.k_norm"].weight)
    query, key = _turned(decoder, batch, query, key)
    if batch.pairs:
        pair = [ops.repeated(ledger, one, batch.rows) if batch.rows > 1 else one
                for one in batch.pairs[2 * place:2 * place + 2]]
        key, value = ops.joined(ledger, pair[0], key), ops.joined(ledger, pair[1], value)
        del pair
    if decoder.cast and _way(decoder) in ("flash", "efficient", "math"):
        query, key, value = (ops.to(ledger, one, decoder.cast) for one in (query, key, value))
    way = "efficient" if _way(decoder) == "flash" and (query.kind == FLOAT or batch.mask is not None) else _way(decoder)
    groups = query.numel // batch.rows // batch.width * (batch.front + batch.width) * batch.rows // key.numel
    how = Attention(way, batch.tokens * shape.heads, batch.front + batch.width, groups, shape.head_dim, shape.softcap,
                    shape.attention_dropout, shape.upcasts, decoder.cast * (way == "eager"), batch.rows > 1)
    out = attend(ledger, how, query, key, value, batch.mask)
    del query, key, value
    out = layers.linear(ledger, out, matrices[_last(shape, ATTENTION)])
    return layers.bottleneck(ledger, out, *adapters[ATTENTION], decoder.setup.setting("activation")) \
        if ATTENTION in adapters else out


def _last(shape, part: str) -> str:
    """The name of the matrix that a part ends with."""
    return next(one.name for one in shape.linears if one.part == part and one.name.rpartition(".")[2] in
                ("o_proj", "c_proj", "out_proj", "dense", "down_proj", "dense_4h_to_h"))


def _turned(decoder: Decoder, batch: Batch, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    ledger, shape = decoder.ledger, decoder.shape
    if not shape.rotary:
        return query, key
    if shape.rotary == shape.head_dim and shape.family != "phi3":
        turned = rotated(ledger, query, batch.cosine, batch.sine)
        return turned, rotated(ledger, key, batch.cosine, batch.sine)
    share = shape.rotary / shape.head_dim
    turned = partly_rotated(ledger, query, batch.cosine, batch.sine, share)
    return turned, partly_rotated(ledger, key, batch.cosine, batch.sine, share)


def _taken_apart(decoder: Decoder, place: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of states."""
    ledger, shape, matrices = decoder.ledger, decoder.shape, decoder.layers[place][0]
    names = [one.name for one in shape.linears if one.part == ATTENTION and one.name != _last(shape, ATTENTION)]
    if shape.qkv == "apart":
        by_letter = {name.rpartition(".")[2][0]: name for name in names}
        return tuple(layers.linear(ledger, x, matrices[by_letter[letter]]) for letter in "qkv")
    both = layers.linear(ledger, x, matrices[names[0]])
    rows = both.numel // matrices[names[0]].outside
    one = rows * shape.kv_heads * shape.head_dim
    sizes = [rows * shape.heads * shape.head_dim, one, one]
    if shape.qkv == "pieces":
        return tuple(ops.pieces(ledger, both, sizes))
    apart = [ops.piece(ledger, both, size) for size in sizes]
    if shape.qkv == "falcon":  # laid out anew, keys and values for every query head where there are several
        many = [1, *[shape.heads // shape.kv_heads if shape.spreads_keys else 1] * 2]
        apart = [ops.copied(ledger, ops.repeated(ledger, part, times) if times > 1 else part)
                 for part, times in zip(apart, many, strict=True)]
    return tuple(apart)


def _mlp(decoder: Decoder, place: int, x: Tensor) -> Tensor:
    ledger, shape, (matrices, _, adapters) = decoder.ledger, decoder.shape, decoder.layers[place]
    names = [one.name for one in shape.linears if one.part == MLP]
    if shape.gate == "apart":
        gate = ops.activation(ledger, layers.linear(ledger, x, matrices[names[0]]), shape.activation)
        middle = ops.mul(ledger, gate, layers.linear(ledger, x, matrices[names[1]]))
        del gate
    elif shape.gate == "pieces":
        both = layers.linear(ledger, x, matrices[names[0]])
        gate, up = ops.pieces(ledger, both, [both.numel // 2] * 2)
        middle = ops.mul(ledger, up, ops.activation(ledger, gate, shape.activation))
        del both, gate, up
    else:
        middle = ops.activation(ledger, layers.linear(ledger, x, matrices[names[0]]), shape.activation)
    out = layers.linear(ledger, middle, matrices[names[-1]])
    return layers.bottleneck(ledger, out, *adapters[MLP], decoder.setup.setting("activation")) \
        if MLP in adapters else out
