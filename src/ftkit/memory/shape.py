"""The shape of a language model, read off its config: every matrix, every norm, and how a layer is put together.

Knows nothing about weights, training or bytes. A family is what `model_type` in config.json says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ftkit.errors import refusal, unknown

ATTENTION, MLP = "attention", "mlp"


@dataclass(frozen=True)
class Linear:
    """One matrix of a layer.

    Args:
        name: its path within the layer.
        inside: numbers in.
        outside: numbers out.
        bias: whether it adds one number an output.
        part: "attention" or "mlp".
    """

    name: str
    inside: int
    outside: int
    bias: bool
    part: str

    @property
    def parameters(self) -> int:
        """Numbers of matrix and bias."""
        return self.inside * self.outside + self.outside * self.bias


@dataclass(frozen=True)
class Norm:
    """One norm: its path within the layer, how wide it is, whether it has a bias beside its weight."""

    name: str
    width: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Numbers of weight and bias."""
        return self.width * (1 + self.bias)


@dataclass(frozen=True)
class Shape:
    """A decoder and its head.

    Args:
        family: its model_type.
        vocab: rows of the embedding.
        hidden: numbers of a state.
        layers: how many.
        heads: of attention.
        kv_heads: of keys and values.
        head_dim: numbers of a head.
        intermediate: numbers between the matrices of the MLP.
        linears: of one layer, in the order in which the model has them.
        norms: of one layer, likewise.
        norm: "rms", "gemma" (written otherwise) or "layer".
        final_norm: after the last layer.
        tied: whether the head's matrix is the embedding's.
        positions: rows of an embedding of positions, 0 without.
        rotary: numbers of a head that are turned by their position, 0 without.
        qkv: "apart" (three matrices), "slices", "pieces" or "falcon": how one matrix's outputs are taken apart.
        spreads_keys: keys and values are written out for every head of queries.
        gate: "apart" (two matrices), "pieces" (one matrix's halves) or "" for an MLP without a gate.
        activation: the curve in the MLP.
        parallel: attention and MLP side by side.
        after_norms: norms behind attention and MLP, too (gemma2).
        scales_embedding: the embedding is multiplied by a number (gemma).
        softcap: scores and logits are bent (gemma2).
        dropout: share set to zero behind attention and MLP in training.
        attention_dropout: of the attention's shares.
        embedding_dropout: of the embedding.
        stack: path of the list of layers.
        embedding_name: path of the embedding.
        head_name: path of the head.
        native: whether transformers has its code.
        upcasts: what eager attention computes in float32: "shares", "scores" or "".
        mask_bytes: of a mask that each layer holds.
        attends_by_itself: "math" or "eager" where the model's own code takes no kernel.
    """

    family: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    linears: tuple[Linear, ...]
    norms: tuple[Norm, ...]
    norm: str = "rms"
    final_norm: Norm | None = None
    tied: bool = False
    positions: int = 0
    rotary: int = 0
    qkv: str = "apart"
    spreads_keys: bool = False
    gate: str = "apart"
    activation: str = "silu"
    parallel: bool = False
    after_norms: bool = False
    scales_embedding: bool = False
    softcap: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    embedding_dropout: float = 0.0
    stack: str = "model.layers"
    embedding_name: str = "model.embed_tokens"
    head_name: str = "lm_head"
    native: bool = True
    upcasts: str = "shares"
    mask_bytes: int = 0
    attends_by_itself: str = ""

    @property
    def cached_heads(self) -> int:
        """Heads of keys that a cache holds, and a prefix puts itself in front of: falcon writes them out first."""
        return self.heads if self.spreads_keys else self.kv_heads

    @property
    def layer_parameters(self) -> int:
        """Numbers of one layer."""
        return sum(one.parameters for one in (*self.linears, *self.norms))

    @property
    def outside_parameters(self) -> int:
        """Numbers outside the layers: embeddings, last norm, a head of its own."""
        table = self.vocab * self.hidden
        last = self.final_norm.parameters if self.final_norm else 0
        return table + self.positions * self.hidden + last + (0 if self.tied else table)

    @property
    def parameters(self) -> int:
        """Numbers of the model, a tied head counted once."""
        return self.layers * self.layer_parameters + self.outside_parameters


class Keys:
    """A config's values by name, each refused by its name where it is missing or no number.

    Args:
        config: as in config.json.
    """

    def __init__(self, config: Mapping):
        self.config = config

    def number(self, *names: str, default: int | None = None) -> int:
        """The whole number under the first of the names that is there; the default where none is."""
        value = next((self.config[name] for name in names if self.config.get(name) is not None), default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise refusal(f"{names[0]} in the config", "a whole number, 0 or more", value,
                          "Take the config.json that comes with the model.")
        return value

    def get(self, name: str, default: object = None) -> object:
        """The value under a name, the default where there is none."""
        value = self.config.get(name, default)
        return default if value is None else value

    def rotary(self, head_dim: int, default_share: float = 1.0) -> int:
        """How many numbers of a head are turned."""
        inside = self.get("rope_parameters", {}) or self.get("rope_scaling", {}) or {}
        share = inside.get("partial_rotary_factor", self.get("partial_rotary_factor", self.get("rotary_pct",
                                                                                             default_share)))
        return int(head_dim * share)


def shape_of(config: Mapping) -> Shape:
    """The shape that a config describes.

    Args:
        config: what config.json holds, as a dict.

    Raises:
        Refusal: a family that is not known here, or a key that is missing or no number.

    Example:
        >>> llama = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        ...          "num_hidden_layers": 32, "num_attention_heads": 32}
        >>> shape_of(llama).parameters
        6738415616

    Taught in: 09_memory_and_cost
    """
    from ftkit.memory.families import FAMILIES

    if not isinstance(config, Mapping) or "model_type" not in config:
        raise refusal("config", "a dict with model_type, as config.json has it", config)
    family = config["model_type"]
    if family not in FAMILIES:
        raise unknown("model_type", family, FAMILIES, "Others can be counted, but not planned: `ftkit plan` does.")
    read: Callable[[Keys], Shape] = FAMILIES[family]
    shape = read(Keys(config))
    if shape.layers < 1 or shape.heads < 1 or shape.hidden < 1 or shape.vocab < 1:
        raise refusal("config", "that of a model with layers, heads and a vocabulary", {
            "layers": shape.layers, "heads": shape.heads, "hidden": shape.hidden, "vocab": shape.vocab})
    return shape
