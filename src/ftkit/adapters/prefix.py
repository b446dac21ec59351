"""Prefix tuning: trained keys and values in front of those of every layer. Knows nothing about training or files."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ftkit.adapters.virtual import (
    STARTS,
    VirtualTokens,
    cached,
    check_tokens,
    decoder_of,
    make_room,
    named_inputs,
    put_in_front_,
    rows_of,
    start_ids,
    virtual_of,
)
from ftkit.errors import refusal
from ftkit.modes import evaluation_mode


@dataclass(frozen=True)
class PrefixConfig:
    """The settings of a trained prefix.

    Args:
        virtual_tokens: its length in tokens, 1 or more.
        start: "vocab" (the keys and values of random tokens), "random" (normal, as in peft), "zero" or "text".
        start_text: whose tokens' keys and values it starts with, repeated or cut off to its length.
        projection: the width of a two-layer network that makes the keys and values while they are trained, as peft's
            `prefix_projection`; 0 trains them themselves.

    Raises:
        Refusal: a value is out of range, or two of them do not go together.

    Source: Li and Liang 2021, Prefix-Tuning, sections 4.2 and 4.3.
    """

    virtual_tokens: int = 16
    start: str = "vocab"
    start_text: str = ""
    projection: int = 0

    def __post_init__(self):
        check_tokens(self.virtual_tokens, self.start, self.start_text, (*STARTS, "zero"))
        if isinstance(self.projection, bool) or not isinstance(self.projection, int) or self.projection < 0:
            raise refusal("projection", "a whole number, 0 (none) or more", self.projection)
        if self.projection and self.start not in ("random", "zero"):
            raise refusal("start", "random or zero with a projection", self.start,
                          "There is no way back through the network from keys and values to its inputs.")


class Prefix(VirtualTokens):
    """A trained prefix.

    Equation: with a projection [k₁, v₁, k₂, v₂, …] = up(tanh(down(e))), else e itself.
    Shapes: `embedding` e (tokens, layers·2·heads·head_dim), with a projection (tokens, heads·head_dim); as in peft.

    Args:
        layers: of the decoder.
        heads: key and value heads of a layer.
        head_dim: numbers of a key or value.
        dtype: of the keys and values that it is put in front of; what is trained is float32.
    """

    def __init__(self, embedding: torch.Tensor, layers: int, heads: int, head_dim: int, dtype: torch.dtype):
        super().__init__(embedding)
        self.layers, self.heads, self.head_dim, self.dtype = layers, heads, head_dim, dtype
        self.down: nn.Linear | None = None
        self.up: nn.Linear | None = None

    def project_(self, width: int, generator: torch.Generator, zero: bool) -> "Prefix":
        """The prefix with a network of this width between its embedding and the keys and values; begins as in peft."""
        inside, device = self.embedding.shape[1], self.embedding.device
        self.down, self.up = nn.Linear(inside, width), nn.Linear(width, self.layers * 2 * self.heads * self.head_dim)
        with torch.no_grad():
            for linear in (self.down, self.up):
                bound = linear.in_features ** -0.5  # nn.Linear's own
                for parameter in linear.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
            if zero:
                for parameter in self.up.parameters():
                    parameter.zero_()
        return self.to(device)

    def forward(self) -> torch.Tensor:
        """All keys and values. Shapes: (tokens, layers·2·heads·head_dim)."""
        return self.embedding if self.down is None else self.up(torch.tanh(self.down(self.embedding)))

    def keys_and_values(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A pair for each layer. Shapes: each (rows, heads, tokens, head_dim)."""
        apart = self().to(self.dtype).view(-1, 2 * self.layers, self.heads, self.head_dim)
        apart = apart.permute(1, 2, 0, 3)[:, None].expand(-1, rows, -1, -1, -1)  # (2·layers, rows, heads, tokens, dim)
        return list(zip(apart[0::2], apart[1::2], strict=True))


def add_prefix_(model: nn.Module, config: PrefixConfig, seed: int = 0, ids: Sequence[int] | None = None) -> nn.Module:
    """The model with a trained prefix and all else frozen; it takes and gives back what it did without one.

    Every token attends to the prefix, positions begin after it, and a cache that holds tokens holds it already.

    Args:
        seed: decides what the prefix starts with.
        ids: tokens whose keys and values it starts with, in place of random ones; those of `start_text`, where that is
            given.

    Raises:
        Refusal: the model is no causal language model of transformers, or keeps no keys and values, or not the same
            number in all layers; or `ids` are missing.

    Taught in: 06_methods_compared
    """
    decoder, generator = decoder_of(model), torch.Generator().manual_seed(seed)
    pairs = _kept_by(decoder, start_ids(decoder, config.virtual_tokens, config.start, generator, ids))
    layers, (heads, tokens, head_dim) = len(pairs), pairs[0][0].shape[1:]
    kept = torch.stack([one[0] for pair in pairs for one in pair])  # (2·layers, heads, tokens, head_dim)
    start = kept.permute(2, 0, 1, 3).reshape(tokens, -1).float()
    if config.start in ("random", "zero"):
        width = heads * head_dim if config.projection else start.shape[1]
        start = torch.randn(tokens, width, generator=generator).to(start.device)
    if config.start == "zero" and not config.projection:
        start = torch.zeros_like(start)
    prefix = Prefix(start, layers, heads, head_dim, kept.dtype)
    if config.projection:
        prefix.project_(config.projection, generator, config.start == "zero")
    return put_prefix_(model, prefix)


def put_prefix_(model: nn.Module, prefix: Prefix) -> nn.Module:
    """The model with this trained prefix and all else frozen.

    Raises:
        Refusal: the model has virtual tokens already.
    """
    decoder = put_in_front_(model, "prefix", prefix)
    decoder.register_forward_pre_hook(_with_prefix, with_kwargs=True)
    return model


def prefix_of(model: nn.Module) -> Prefix | None:
    """The model's trained prefix; None without one."""
    found = virtual_of(model)
    return found if isinstance(found, Prefix) else None


def shape_of(decoder: nn.Module) -> tuple[int, int, int, torch.dtype]:
    """How many layers, heads of keys, and numbers of a key a decoder has, and their type.

    Raises:
        Refusal: it keeps no keys and values, or not the same number in all layers.
    """
    pairs = _kept_by(decoder, torch.zeros(1, dtype=torch.long, device=decoder.get_input_embeddings().weight.device))
    keys = pairs[0][0]
    return len(pairs), keys.shape[1], keys.shape[3], keys.dtype


def _kept_by(decoder: nn.Module, ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values that each layer keeps of these tokens; what has none, or not alike ones, is refused."""
    with evaluation_mode(decoder):
        cache = getattr(decoder(input_ids=ids[None], use_cache=True), "past_key_values", None)
    pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in getattr(cache, "layers", [])]
    shapes = {tuple(one.shape) if isinstance(one, torch.Tensor) else None for pair in pairs for one in pair}
    if len(shapes) != 1 or None in shapes:
        raise refusal("model", "one whose layers all keep keys and values of one shape", type(decoder).__name__,
                      f"It keeps {sorted(map(str, shapes)) or 'none'}: take another method.")
    return pairs


def _with_prefix(decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    inputs, prefix = named_inputs(decoder, args, kwargs), decoder.prefix
    if decoder.training and getattr(decoder, "is_activation_checkpointing", False):
        raise refusal("activation_checkpointing", "False with a trained prefix", True,
                      "transformers would leave the prefix out: it hands no keys and values to a layer then.")
    made = make_room(inputs, prefix.virtual_tokens, as_queries=0)
    if not cached(inputs):
        made["past_key_values"] = _filled(decoder, inputs, prefix)
    return (), made


def _filled(decoder: nn.Module, inputs: dict, prefix: Prefix):
    from transformers import DynamicCache

    given = inputs.get("past_key_values")
    cache = DynamicCache(config=decoder.config) if given is None else given
    for place, (keys, values) in enumerate(prefix.keys_and_values(rows_of(inputs))):
        cache.update(keys, values, place)
    return cache
