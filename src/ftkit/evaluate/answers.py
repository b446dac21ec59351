"""What a model answers, greedily, to many prompts at once. Knows nothing about whether an answer is right."""

import inspect
from collections.abc import Sequence

import torch
from torch import nn

from ftkit import chat
from ftkit.cpu import attention_for
from ftkit.errors import Refusal, refusal
from ftkit.evaluate.perplexity import context_length
from ftkit.modes import evaluation_mode

KEPT_SHARE = 0.75  # a batch drops its finished rows once no more than this share goes on: dropping copies the cache


def answers(model: nn.Module, tokenizer, prompts: Sequence, max_new_tokens: int = 64,
            batch_size: int = 32) -> list[str]:
    """The model's answer to each prompt, always its likeliest next token, up to the end of its turn.

    Args:
        prompts: each a text (one user turn), a list of messages, a record (its answer is left out), or token ids.
        max_new_tokens: the most tokens of an answer, 1 or more.
        batch_size: prompts answered together; changes nothing but speed and memory.

    Returns:
        The answers in the prompts' order, without control tokens; an empty one is "".

    Raises:
        Refusal: no prompts, or one that fills the model's context.
    """
    if isinstance(prompts, str | dict) or not len(prompts):
        raise refusal("prompts", "a list of at least one prompt", prompts)
    ids = [_ids(prompt, tokenizer) for prompt in prompts]
    written = continue_ids(model, ids, max_new_tokens, stop_ids(model, tokenizer), batch_size)
    return [tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in written]


def stop_ids(model: nn.Module, tokenizer) -> set[int]:
    """The tokens that end an answer: the chat template's end of turn, the tokenizer's and the model's end of text."""
    found = {tokenizer.eos_token_id}
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found.update(configured if isinstance(configured, list) else [configured])
    if getattr(tokenizer, "chat_template", None):
        try:
            example = chat.encode([{"role": "user", "content": "1"}, {"role": "assistant", "content": "1"}], tokenizer)
            found.add([label for label in example.labels if label != chat.IGNORED][-1])
        except Refusal:  # a template without an end of turn: there is nothing to stop at but the end of text
            pass
    return found - {None}


def continue_ids(model: nn.Module, prompts: Sequence[Sequence[int]], max_new_tokens: int, stops: set[int],
                 batch_size: int = 32) -> list[list[int]]:
    """The tokens that follow each prompt, greedily, without the one that ends it.

    Prompts of like length go together; finished rows leave their batch. No sampling, penalty or other setting of
    the model's own generation config plays a part.

    Raises:
        Refusal: a number out of range, an empty prompt or one that fills the model's context, or a model with a
            trained prompt.
    """
    _check(model, prompts, max_new_tokens, batch_size)
    room = context_length(model)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    written: list[list[int]] = [[] for _ in prompts]
    with evaluation_mode(model):
        if "past_key_values" not in inspect.signature(_inner(model).forward).parameters:
            limits = [min(max_new_tokens, room - len(prompt)) for prompt in prompts]
            return [_continue_alone(model, *each, stops) for each in zip(prompts, limits, strict=True)]
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            limits = [min(max_new_tokens, room - len(prompts[index])) for index in chosen]
            with attention_for(model, len(chosen), len(prompts[chosen[0]]) + max(limits)):
                tokens = _continue_batch(model, [prompts[index] for index in chosen], limits, stops)
            for index, row in zip(chosen, tokens, strict=True):
                written[index] = row
    return written


def _continue_batch(model: nn.Module, prompts: list[Sequence[int]], limits: list[int],
                    stops: set[int]) -> list[list[int]]:
    """One batch, padded on the left so that all rows grow at the same end."""
    accepted = inspect.signature(_inner(model).forward).parameters
    options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    ids, mask = _left_padded(prompts, next(model.parameters()).device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (rows, width)
    cache, rows = None, list(range(len(prompts)))  # rows: which prompt each row of the batch belongs to
    written, unfinished = [[] for _ in prompts], set(rows)
    while True:
        if "position_ids" in accepted:
            options["position_ids"] = positions
        out = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        cache, tokens = out.past_key_values, out.logits[:, -1].argmax(-1)  # (rows,)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row in unfinished and token not in stops:
                written[row].append(token)
            if token in stops or len(written[row]) == limits[row]:
                unfinished.discard(row)
        if not unfinished:
            return written
        if len(unfinished) <= KEPT_SHARE * len(rows):
            kept = torch.tensor([place for place, row in enumerate(rows) if row in unfinished], device=ids.device)
            rows = [row for row in rows if row in unfinished]
            cache.batch_select_indices(kept)
            tokens, mask, positions = tokens[kept], mask[kept], positions[kept]
        ids, positions = tokens[:, None], positions[:, -1:] + 1  # (rows, 1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)


def _continue_alone(model: nn.Module, prompt: Sequence[int], limit: int, stops: set[int]) -> list[int]:
    """One prompt, read anew for each token: of models with a state, which has neither rows to drop nor padding."""
    ids, device = list(prompt), next(model.parameters()).device
    while len(ids) < len(prompt) + limit:
        token = int(model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt):]


def _left_padded(prompts: list[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, (torch.arange(width, device=device) >= width - lengths[:, None]).long()


def _ids(prompt: object, tokenizer) -> list[int]:
    if isinstance(prompt, list) and prompt and all(isinstance(token, int) for token in prompt):
        return prompt
    return chat.prompt_ids(prompt, tokenizer)


def _inner(model: nn.Module) -> nn.Module:
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # out of peft's wrapper


def _check(model: nn.Module, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int) -> None:
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise refusal(name, "1 or more", value)
    room = context_length(model)
    for place, prompt in enumerate(prompts):
        if not 0 < len(prompt) < room:
            raise refusal(f"prompts[{place}]", f"1 to {room - 1} tokens, so that an answer fits this model's context "
                          f"of {room}", f"{len(prompt)} tokens", "Shorten it.")
    config = getattr(model, "active_peft_config", None)
    if getattr(config, "is_prompt_learning", False):
        raise refusal("model", "one without a trained prompt or prefix of peft's", str(config.peft_type),
                      "Use the model's own generate.")
