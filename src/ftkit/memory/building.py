"""A model's tensors entered in a ledger: weights as they are held, what a method adds, what of it is trained.

Knows nothing about what is computed with them.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from ftkit.memory.chosen import Chosen, Layer, chosen
from ftkit.memory.counting import bytes_of_linear, held_type
from ftkit.memory.layers import Matrix
from ftkit.memory.ledger import Leaf, Ledger, Storage, Tensor
from ftkit.memory.ops import FLOAT
from ftkit.memory.setup import TYPES, Setup
from ftkit.memory.shape import Linear, Norm, Shape
from ftkit.memory.sharing import OUTSIDE, Sharing


@dataclass
class NormWeights:
    """A norm's tensors."""

    weight: Tensor
    bias: Tensor | None


@dataclass
class Decoder:
    """All tensors of a prepared model.

    Args:
        layers: for each layer its matrices by name, its norms by name, its adapters by the part they stand behind.
        embedding: the table of tokens.
        head: the last matrix.
        virtual: what is trained in front of the tokens.
        trained: every trained tensor.
        group: the layer whose tensors are being entered, or `OUTSIDE`.
        wholes: bytes of each group's parameters before they are shared out.
        trained_of: the trained tensors of each group.
        sharing: what puts groups together; None where each process has all.
    """

    shape: Shape
    setup: Setup
    ledger: Ledger
    peft: bool
    layers: list[tuple[dict[str, Matrix], dict[str, NormWeights], dict[str, tuple[Matrix, Matrix]]]] = field(
        default_factory=list)
    embedding: Matrix | None = None
    positions: Tensor | None = None
    final_norm: NormWeights | None = None
    head: Matrix | None = None
    virtual: list[Tensor] = field(default_factory=list)
    trained: list[Tensor] = field(default_factory=list)
    buffers: list[Storage] = field(default_factory=list)
    group: int = OUTSIDE
    wholes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    trained_of: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    sharing: Sharing | None = None

    @property
    def held(self) -> int:
        """Bytes of a number of embeddings, norms and head."""
        return TYPES[held_type(self.setup)]

    @property
    def compute(self) -> int:
        """Bytes of a number that quantised matrices compute in."""
        return TYPES[self.setup.precision]

    @property
    def cast(self) -> int:
        """Bytes of a number of mixed precision, 0 without."""
        return TYPES[self.setup.mixed] if self.setup.mixed else 0


def built(shape: Shape, setup: Setup, ledger: Ledger, peft: bool = False) -> Decoder:
    """The model of a shape, prepared as the setup says, with all its tensors in the ledger.

    Args:
        peft: LoRA as peft computes it, else as ftkit does.
    """
    found, decoder = chosen(shape, setup), Decoder(shape, setup, ledger, peft)
    table = _tensor(decoder, shape.vocab * shape.hidden, decoder.held, found.outside)
    decoder.embedding = _outer(decoder, found, table, shape.embedding_name, shape.hidden)
    if shape.positions:
        decoder.positions = _tensor(decoder, shape.positions * shape.hidden, decoder.held, found.outside)
    for decoder.group, layer in enumerate(found.layers):
        decoder.layers.append(_layer(decoder, layer))
        decoder.buffers.append(Storage(ledger, shape.mask_bytes, "buffers"))
    decoder.group = OUTSIDE
    if shape.final_norm:
        decoder.final_norm = _norm(decoder, shape.final_norm, found.outside, found.outside or found.final_bias)
    own = table if shape.tied else _tensor(decoder, shape.vocab * shape.hidden, decoder.held, found.outside)
    decoder.head = _outer(decoder, found, own, shape.head_name, shape.vocab)
    decoder.virtual = [_tensor(decoder, numel, FLOAT, True, "adapters") for numel in found.virtual]
    if setup.shares_weights:
        decoder.sharing = Sharing(ledger, decoder.wholes, decoder.trained_of, setup.ranks, setup.sharding == "zero2")
        ledger.back_at = decoder.sharing.back_at
    return decoder


def _layer(decoder: Decoder, layer: Layer) -> tuple:
    shape, setup = decoder.shape, decoder.setup
    matrices = {one.name: _matrix(decoder, one, layer) for one in shape.linears}
    norms = {one.name: _norm(decoder, one, one.name in layer.trained, one.name in layer.trained or layer.biases)
             for one in shape.norms}
    adapters = {}
    for part in layer.adapters:
        middle = setup.setting("bottleneck")
        adapters[part] = tuple(
            Matrix(_tensor(decoder, shape.hidden * middle, FLOAT, True, "adapters"),
                   _tensor(decoder, width, FLOAT, True, "adapters"), width, cast=decoder.cast)
            for width in (middle, shape.hidden))
    return matrices, norms, adapters


def _matrix(decoder: Decoder, linear: Linear, layer: Layer) -> Matrix:
    setup, numel = decoder.setup, linear.inside * linear.outside
    quantised = setup.quantization if linear.name in layer.quantised else ""
    sizes = bytes_of_linear(linear, setup, bool(quantised))
    bias = None
    if linear.bias:
        bias = _tensor(decoder, linear.outside, decoder.held, linear.name in layer.trained or layer.biases)
    if quantised:
        store = [_share(decoder, size, "weights") for kind, size in sizes.items() if kind not in TYPES]
        weight, decoder.buffers = Tensor(store[0], numel, 0), decoder.buffers + store[1:]
    else:
        weight = _tensor(decoder, numel, decoder.held, linear.name in layer.trained)
    matrix = Matrix(weight, bias, linear.outside, quantised, decoder.compute, setup.double_quant, peft=decoder.peft,
                    cast=decoder.cast)
    if linear.name in layer.ranks:
        rank = layer.ranks[linear.name]
        matrix.factors = (_tensor(decoder, rank * linear.inside, FLOAT, True, "adapters"),
                          _tensor(decoder, rank * linear.outside, FLOAT, True, "adapters"))
        matrix.dropout = float(setup.setting("dropout"))
    return matrix


def _norm(decoder: Decoder, norm: Norm, trained: bool, bias_trained: bool) -> NormWeights:
    bias = _tensor(decoder, norm.width, decoder.held, bias_trained) if norm.bias else None
    return NormWeights(_tensor(decoder, norm.width, decoder.held, trained), bias)


def _outer(decoder: Decoder, found: Chosen, weight: Tensor, path: str, outside: int) -> Matrix:
    """The embedding or the head: with a LoRA, or in a trained copy beside its original."""
    if path in found.copied:
        decoder.buffers.append(weight.store)
        weight = _tensor(decoder, weight.numel, weight.kind, True, "adapters")
    matrix = Matrix(weight, None, outside, peft=decoder.peft, cast=decoder.cast)
    if path in found.ranks:
        rank, shape = found.ranks[path], decoder.shape
        sizes = (shape.hidden, shape.vocab) if path == shape.head_name else (shape.vocab, shape.hidden)
        matrix.factors = tuple(_tensor(decoder, rank * size, FLOAT, True, "adapters") for size in sizes)
        matrix.dropout = float(decoder.setup.setting("dropout"))
    return matrix


def _tensor(decoder: Decoder, numel: int, kind: int, trained: bool, part: str = "weights") -> Tensor:
    made = Tensor(_share(decoder, numel * kind, part), numel, kind, Leaf(numel * kind) if trained else None)
    if trained:
        decoder.trained.append(made)
        decoder.trained_of[decoder.group].append(made)
    return made


def _share(decoder: Decoder, size_bytes: int, part: str) -> Storage:
    """What this process holds of a parameter."""
    decoder.wholes[decoder.group] += size_bytes
    ranks = decoder.setup.ranks if decoder.setup.shares_weights else 1
    return Storage(decoder.ledger, -(-size_bytes // ranks), part)
