"""How surprised a model is by given texts: perplexity of answers, bits per byte of running text.

Knows nothing about generating or judging answers.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ftkit.adapters.virtual import virtual_of
from ftkit.batches import collate
from ftkit.cpu import attention_for
from ftkit.errors import refusal
from ftkit.evaluate.intervals import Estimate, bootstrap_interval
from ftkit.losses import token_losses
from ftkit.modes import evaluation_mode


def perplexity(model: nn.Module, examples: Sequence[tuple[list[int], list[int]]], batch_size: int = 16,
               seed: int = 0) -> tuple[Estimate, list[float]]:
    """The perplexity of the tokens that carry loss, with an interval over records; and each record's mean loss.

    Equation: exp(Σ losses / Σ label tokens).

    Args:
        examples: pairs (token ids, labels), as `chat.encode_all` makes them.
        batch_size: rows computed at once; changes nothing but speed and memory.
        seed: decides the bootstrap.

    Returns:
        The estimate, and one mean loss a record in the order given (for `intervals.paired_difference`).

    Raises:
        Refusal: no examples, or one without a token that carries loss.
    """
    sums, counts = record_losses(model, examples, batch_size)
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    loss = bootstrap_interval(means, seed, weights=counts)
    return replace(loss, value=_exp(loss.value), low=_exp(loss.low), high=_exp(loss.high)), means


def record_losses(model: nn.Module, examples: Sequence[tuple[list[int], list[int]]],
                  batch_size: int = 16) -> tuple[list[float], list[int]]:
    """Each record's summed loss and how many tokens carry it, in the order given.

    Raises:
        Refusal: no examples, one without a token that carries loss, or a model whose loss is not finite.
    """
    if not examples:
        raise refusal("examples", "at least one", list(examples), "Is the held-out split empty?")
    counts = [sum(label >= 0 for label in labels[1:]) for _, labels in examples]
    if not all(counts):
        raise refusal(f"example {counts.index(0)}", "one with a token that carries loss", "none")
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index][0]))  # alike lengths pad little
    sums, device = [0.0] * len(examples), next(model.parameters()).device
    with evaluation_mode(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate([examples[index] for index in chosen], pad_id=0).to(device)
            with attention_for(model, *batch.input_ids.shape):
                totals = token_losses(model, batch).double().sum(1).tolist()
            for index, total in zip(chosen, totals, strict=True):
                sums[index] = total
    if not all(map(math.isfinite, sums)):
        raise refusal("the model's loss", "finite", next(total for total in sums if not math.isfinite(total)),
                      "The model has diverged: train it again with a lower learning_rate.")
    return sums, counts


def bits_per_byte(model: nn.Module, tokenizer, texts: Sequence[str], batch_size: int = 16, seq_len: int = 512,
                  seed: int = 0) -> Estimate:
    """The bits the model needs for a byte (in UTF-8) of running text, with an interval over texts.

    It compares models with different tokenizers. Every token of a text is predicted once: the first from the
    tokenizer's begin-of-text token (end-of-text where it has none), a long text in windows of `seq_len`.

    Equation: Σ losses / (ln 2 · Σ bytes).

    Args:
        seq_len: tokens the model sees at once, 2 or more; less where its own context is shorter.

    Raises:
        Refusal: no texts, an empty one, or a tokenizer without either token.

    Source: Gao et al. 2020, The Pile, section 3.1.
    """
    if not texts or isinstance(texts, str) or not all(texts):
        raise refusal("texts", "a list of at least one text, none of them empty", texts)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise refusal("tokenizer", "one with a begin-of-text or end-of-text token", "neither",
                      "Set tokenizer.eos_token to the token between two texts.")
    windows, owners = [], []
    for owner, text in enumerate(texts):
        ids = [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        step = min(seq_len, context_length(model)) - 1
        windows += [(ids[at : at + step + 1],) * 2 for at in range(0, len(ids) - 1, step)]
        owners += [owner] * (len(windows) - len(owners))
    sums, _ = record_losses(model, windows, batch_size)
    losses = [0.0] * len(texts)
    for owner, total in zip(owners, sums, strict=True):
        losses[owner] += total
    sizes = [len(text.encode("utf-8")) for text in texts]
    bits = [loss / math.log(2) / size for loss, size in zip(losses, sizes, strict=True)]
    return bootstrap_interval(bits, seed, weights=sizes)


def context_length(model: nn.Module) -> int:
    """The most tokens the model was made for, less those of a trained prompt or prefix; a very large number where its
    config does not say.
    """
    config = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    room = getattr(config, "max_position_embeddings", None) or 10**9
    in_front = virtual_of(model)
    return room - (in_front.virtual_tokens if in_front is not None else 0)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf  # beyond it a float overflows
