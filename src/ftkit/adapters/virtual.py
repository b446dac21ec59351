"""What a trained prompt and a trained prefix have in common: tokens in front of every row that no caller knows of.

Callers give ids, masks and positions of their own tokens, and get back as many states. Knows nothing about what stands
for the virtual tokens, nor about files.
"""

import inspect
from collections.abc import Sequence

import torch
from torch import nn

from ftkit import targets
from ftkit.errors import refusal

STARTS = ("vocab", "random", "text")


class VirtualTokens(nn.Module):
    """What is trained for tokens in front of every row.

    Shapes: `embedding` (tokens, ...).
    """

    def __init__(self, embedding: torch.Tensor):
        super().__init__()
        self.embedding = nn.Parameter(embedding)

    @property
    def virtual_tokens(self) -> int:
        """How many they are."""
        return len(self.embedding)


def virtual_of(model: nn.Module) -> VirtualTokens | None:
    """The model's trained prompt or prefix; None without one."""
    return next((module for module in model.modules() if isinstance(module, VirtualTokens)), None)


def decoder_of(model: nn.Module) -> nn.Module:
    """The module that reads tokens and yields states: a causal language model without its head.

    Raises:
        Refusal: the model is none of transformers', or has an encoder of its own.
    """
    config = getattr(model, "config", None)
    if not hasattr(model, "get_decoder") or config is None:
        raise refusal("model", "a causal language model of transformers", type(model).__name__)
    if getattr(config, "is_encoder_decoder", False):
        raise refusal("model", "one that reads and writes in one stack", f"{type(model).__name__}, an encoder-decoder",
                      "Virtual tokens are put in front of a decoder's own tokens here: open this one with peft.")
    return model.get_decoder()


def put_in_front_(model: nn.Module, name: str, tokens: VirtualTokens) -> nn.Module:
    """The decoder, with these tokens as its module of this name, and all else in the model frozen.

    Raises:
        Refusal: the model has virtual tokens already.
    """
    decoder, there = decoder_of(model), virtual_of(model)
    if there is not None:
        raise refusal("model", "one without virtual tokens", f"one with a {type(there).__name__.lower()}",
                      "Load it anew.")
    targets.freeze_(model)
    setattr(decoder, name, tokens)
    return decoder


def check_tokens(virtual_tokens: object, start: object, start_text: object, starts: Sequence[str] = STARTS) -> None:
    """Refuses settings of virtual tokens that are out of range or contradict each other."""
    if isinstance(virtual_tokens, bool) or not isinstance(virtual_tokens, int) or virtual_tokens < 1:
        raise refusal("virtual_tokens", "a whole number, 1 or more", virtual_tokens, "Take 16 to begin with.")
    if start not in starts:
        raise refusal("start", f"one of {', '.join(starts)}", start)
    if (start == "text") != bool(start_text):
        raise refusal("start_text", "given with start='text', and with no other", start_text)


def start_ids(decoder: nn.Module, virtual_tokens: int, start: str, generator: torch.Generator,
              ids: Sequence[int] | None = None) -> torch.Tensor:
    """So many token ids to begin with: those given, repeated or cut off as peft does, else drawn from the vocabulary.

    Raises:
        Refusal: `ids` is empty, or not given where it starts with a text.
    """
    table = decoder.get_input_embeddings()
    if ids is None and start == "text":
        raise refusal("ids", "given with start='text', the tokens of start_text", None)
    if ids is None:
        return torch.randint(table.num_embeddings, (virtual_tokens,), generator=generator).to(table.weight.device)
    if not len(ids):
        raise refusal("start_text", "one of at least one token", "an empty one")
    repeated = list(ids) * -(-virtual_tokens // len(ids))
    return torch.tensor(repeated[:virtual_tokens], device=table.weight.device)


def named_inputs(decoder: nn.Module, args: tuple, kwargs: dict) -> dict:
    """All that a decoder was called with, by name."""
    return dict(zip(inspect.signature(decoder.forward).parameters, args, strict=False)) | kwargs if args else kwargs


def cached(inputs: dict) -> int:
    """How many tokens, virtual ones included, the cache in a decoder's inputs holds."""
    cache = inputs.get("past_key_values")
    return 0 if cache is None else cache.get_seq_length()


def rows_of(inputs: dict) -> int:
    """How many rows a decoder is called with."""
    ids = inputs.get("input_ids")
    return len(ids if ids is not None else inputs["inputs_embeds"])


def make_room(inputs: dict, tokens: int, as_queries: int) -> dict:
    """A decoder's inputs with mask and positions that count the virtual tokens in.

    Args:
        inputs: by name; the caller's own tokens only.
        tokens: how many virtual tokens stand in front of every row.
        as_queries: how many of them the decoder reads in this call.

    Raises:
        Refusal: packed rows without a mask, or a mask of a form that is not known here.
    """
    mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
    if positions is not None and mask is None and bool((positions.diff() != 1).any()):
        raise refusal("packed rows", "given with an attention mask", "positions that start anew, and none",
                      "Every sample shall see the virtual tokens: take grouping='buckets', or attention 'sdpa'.")
    made = dict(inputs)
    if positions is not None:
        in_front = torch.arange(as_queries, device=positions.device).expand(len(positions), -1)
        made["position_ids"] = torch.cat([in_front, positions + tokens], 1)
    if mask is not None:
        made["attention_mask"] = _wider_mask(mask, tokens, as_queries)
    return made


def _wider_mask(mask: torch.Tensor, tokens: int, as_queries: int) -> torch.Tensor:
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:  # (rows, width): 1 for a token, 0 for padding
        return torch.cat([mask.new_ones(len(mask), tokens), mask], 1)
    if not isinstance(mask, torch.Tensor) or mask.dim() != 4:
        raise refusal("attention_mask", "a tensor (rows, width) or (rows, 1, width, width)",
                      tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__)
    added = mask.dtype != torch.bool  # to the scores: 0 where one may look
    seen = torch.zeros if added else torch.ones
    wide = torch.cat([seen(*mask.shape[:3], tokens, dtype=mask.dtype, device=mask.device), mask], 3)
    if not as_queries:
        return wide
    front = torch.ones(as_queries, wide.shape[3], dtype=torch.bool, device=mask.device).tril()
    if added:
        front = torch.zeros_like(front, dtype=mask.dtype).masked_fill_(~front, torch.finfo(mask.dtype).min)
    return torch.cat([front.expand(*mask.shape[:2], -1, -1), wide], 2)
