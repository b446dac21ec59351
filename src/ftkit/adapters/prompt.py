"""Prompt tuning: trained embeddings in front of the tokens of every row. Knows nothing about training or files."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ftkit.adapters.virtual import (
    VirtualTokens,
    cached,
    check_tokens,
    decoder_of,
    make_room,
    named_inputs,
    put_in_front_,
    start_ids,
    virtual_of,
)


@dataclass(frozen=True)
class PromptConfig:
    """The settings of a trained prompt.

    Args:
        virtual_tokens: its length in tokens, 1 or more.
        start: "vocab" (embeddings of random tokens), "random" (normal, as in peft) or "text".
        start_text: whose tokens' embeddings it starts with, repeated or cut off to its length.

    Raises:
        Refusal: a value is out of range, or `start_text` does not go with `start`.

    Source: Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning, section 2.1.
    """

    virtual_tokens: int = 16
    start: str = "vocab"
    start_text: str = ""

    def __post_init__(self):
        check_tokens(self.virtual_tokens, self.start, self.start_text)


class Prompt(VirtualTokens):
    """A trained prompt.

    Shapes: `embedding` (tokens, hidden), in float32 whatever type the model is stored in.
    """

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        """Shapes: (rows, width, hidden) → (rows, tokens + width, hidden)."""
        return torch.cat([self.embedding.to(embedded.dtype).expand(len(embedded), -1, -1), embedded], 1)


def add_prompt_(model: nn.Module, config: PromptConfig, seed: int = 0, ids: Sequence[int] | None = None) -> nn.Module:
    """The model with a trained prompt and all else frozen; it takes and gives back what it did without one.

    The logits and states of the prompt itself are cut off, and a cache that holds tokens holds the prompt already.

    Args:
        seed: decides what the prompt starts with.
        ids: tokens to start with in place of random ones; those of `start_text`, where that is given.

    Raises:
        Refusal: the model is no causal language model of transformers, or `ids` are missing.

    Taught in: 06_methods_compared
    """
    decoder, generator = decoder_of(model), torch.Generator().manual_seed(seed)
    table = decoder.get_input_embeddings()
    if config.start == "random":
        start = torch.randn(config.virtual_tokens, table.embedding_dim, generator=generator).to(table.weight.device)
    else:
        with torch.no_grad():
            start = table(start_ids(decoder, config.virtual_tokens, config.start, generator, ids)).float()
    return put_prompt_(model, start)


def put_prompt_(model: nn.Module, embedding: torch.Tensor) -> nn.Module:
    """The model with this trained prompt and all else frozen.

    Shapes: embedding (tokens, hidden).

    Raises:
        Refusal: the model has virtual tokens already.
    """
    decoder = put_in_front_(model, "prompt", Prompt(embedding))
    decoder.register_forward_pre_hook(_with_prompt, with_kwargs=True)
    decoder.register_forward_hook(_without_its_states, with_kwargs=True)
    return model


def prompt_of(model: nn.Module) -> Prompt | None:
    """The model's trained prompt; None without one."""
    found = virtual_of(model)
    return found if isinstance(found, Prompt) else None


def _with_prompt(decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    inputs, tokens = named_inputs(decoder, args, kwargs), decoder.prompt.virtual_tokens
    if cached(inputs):
        return (), make_room(inputs, tokens, as_queries=0)
    inputs = make_room(inputs, tokens, as_queries=tokens)
    ids, embedded = inputs.pop("input_ids", None), inputs.pop("inputs_embeds", None)
    embedded = decoder.prompt(decoder.get_input_embeddings()(ids) if embedded is None else embedded)
    embedded.virtual_tokens = tokens  # so that the states are cut off after this call, and not after one with a cache
    return (), inputs | {"inputs_embeds": embedded}


def _without_its_states(_: nn.Module, args: tuple, kwargs: dict, out):
    tokens = getattr(kwargs.get("inputs_embeds"), "virtual_tokens", 0)
    if isinstance(out, tuple):
        return (out[0][:, tokens:], *out[1:])
    out.last_hidden_state = out.last_hidden_state[:, tokens:]
    return out
