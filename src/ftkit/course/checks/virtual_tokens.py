"""Cases for answers that put learned tokens or learned keys beside real ones. Knows nothing about a notebook."""

import math

import torch

from ftkit.course.cases import Case, Hint, Rule

IGNORED = -100
_FLOAT32 = 1e-6
_ORDER = "float32; sums in another order"


def prompts() -> list[Case]:
    """Rows padded on the left; numbers of one figure, so that a result can be read."""
    return [*_placed(), *_other_batches(), *_gradients()]


def _batch(lengths: list[int], width: int, hidden: int = 2) -> tuple[torch.Tensor, ...]:
    """Rows whose tokens are 1, 2, 3 … from their start; what stands in the padding is 7, and must not be seen."""
    embedded = torch.full((len(lengths), width, hidden), 7.0)
    mask, labels = torch.zeros(len(lengths), width, dtype=torch.long), torch.full((len(lengths), width), IGNORED)
    for row, length in enumerate(lengths):
        start = width - length
        embedded[row, start:] = torch.arange(1.0, length + 1)[:, None]
        mask[row, start:] = 1
        labels[row, start + length // 2:] = 10 * row + torch.arange(length // 2, length)
    return embedded, mask, labels


def _prompt(count: int, hidden: int = 2) -> torch.Tensor:
    return -torch.arange(1.0, count + 1)[:, None].expand(count, hidden).clone()


def _with(lengths: list[int], width: int, count: int, part: int):
    """One part of the answer: 0 embeddings where the mask is 1 (their first number), 1 mask, 2 labels."""
    def of(answer):
        found = answer(*_batch(lengths, width), _prompt(count))
        if part:
            return found[part]
        return [row[seen.bool()][:, 0].tolist() for row, seen in zip(found[0], found[1], strict=True)]
    return of


def _placed() -> list[Case]:
    return [
        Case("embeddings of rows of 4 and 2, 2 virtual tokens", _with([4, 2], 4, 2, 0),
             [[-1.0, -2.0, 1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, 1.0, 2.0]], [
                 Hint(lambda got: 7.0 in got[1], "The padding of the short row is seen: between the prompt and the "
                      "row's first token nothing may stand, so the prompt goes behind the padding."),
                 Hint(lambda got: got[1] == [1.0, 2.0], "The prompt of the short row is masked out."),
                 Hint(lambda got: got[0][:2] == [-2.0, -1.0], "The prompt stands in its own order."),
                 Hint(lambda got: got[0][-2:] == [-1.0, -2.0], "The prompt stands in front of the tokens."),
                 Hint(lambda got: got[1] == got[0][:4], "Each row has its own tokens: this is the first row's."),
                 Hint(lambda got: len(got[1]) < 4, "A token of the short row is gone: the row starts at width − its "
                      "length."),
        ]),
        Case("mask of the two", _with([4, 2], 4, 2, 1), torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]), [
            Hint(lambda got: tuple(got.shape) == (2, 4), "The mask becomes wider with the rows, by the prompt."),
            Hint(lambda got: got[1].tolist() == [1, 1, 0, 0, 1, 1], "Padding first, then the prompt, then the tokens."),
            Hint(lambda got: got[1].tolist() == [0, 0, 0, 0, 1, 1], "The prompt is seen: its places have a mask of 1."),
        ]),
        Case("labels of the two", _with([4, 2], 4, 2, 2), torch.tensor([
            [IGNORED] * 4 + [2, 3], [IGNORED] * 5 + [11]]), [
                Hint(IndexError, "Three results are wanted: embeddings, mask and labels."),
                Hint(lambda got: tuple(got.shape) == (2, 4), "The labels become wider with the rows: each stays at its "
                     "own token."),
                Hint(lambda got: (got == 0).any(), "0 is a token like any other: no loss is IGNORED, −100."),
                Hint(lambda got: (got[:, :4] != IGNORED).any(), "The labels have moved away from their tokens: they "
                     "move with them, by the virtual tokens."),
        ]),
    ]


def _other_batches() -> list[Case]:
    def whole(lengths, width, count):
        return lambda answer: [_with(lengths, width, count, part)(answer) for part in (0, 1, 2)]

    return [
        Case("a batch without padding", whole([3, 3], 3, 1), [
            [[-1.0, 1.0, 2.0, 3.0]] * 2, torch.ones(2, 4, dtype=torch.long),
            torch.tensor([[IGNORED, IGNORED, 1, 2], [IGNORED, IGNORED, 11, 12]])]),
        Case("a batch whose longest row is padded", whole([2, 1], 5, 3), [
            [[-1.0, -2.0, -3.0, 1.0, 2.0], [-1.0, -2.0, -3.0, 1.0]],
            torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]]),
            torch.tensor([[IGNORED] * 7 + [1], [IGNORED] * 7 + [10]])], [
                Hint(lambda got: True, "Take each row's length from its mask, not from the batch."),
        ]),
        Case("more virtual tokens than real ones", whole([1], 1, 4), [
            [[-1.0, -2.0, -3.0, -4.0, 1.0]], torch.ones(1, 5, dtype=torch.long),
            torch.tensor([[IGNORED] * 4 + [0]])]),
    ]


def _gradients() -> list[Case]:
    def pulled(answer):
        prompt = _prompt(2).requires_grad_()
        found = answer(*_batch([4, 2, 3], 4), prompt)
        (found[0] * found[1][..., None]).sum().backward()
        return prompt.grad

    def hidden(answer):
        found = answer(*_batch([2, 3], 4), _prompt(2))
        return float(found[0][found[1] == 0].abs().sum())

    def kinds(answer):
        embedded, mask, labels = _batch([2, 1], 3)
        return [one.dtype for one in answer(embedded, mask.int(), labels.short(), _prompt(2))[1:]]

    def halves(answer):
        embedded, mask, labels = _batch([2, 1], 3)
        return answer(embedded.bfloat16(), mask, labels, _prompt(2))[0]

    return [
        Case("the gradient of the prompt, 3 rows", pulled, torch.full((2, 2), 3.0), [
            Hint(RuntimeError, "No gradient comes back to the prompt: no_grad, detach, item or .data cuts it off."),
            Hint(lambda got: got is None, "No gradient comes back to the prompt."),
            Hint(lambda got: torch.equal(got, torch.ones(2, 2)), "Every row has the prompt, so every row pulls at it."),
        ]),
        Case("the type of the embeddings", lambda answer: halves(answer).dtype,
             Rule("torch.bfloat16, as the embeddings are", lambda got: got == torch.bfloat16), [
                 Hint(lambda got: True, "The model runs in the type of its embeddings: the result keeps it, whatever "
                      "the prompt is stored in."),
        ]),
        Case("the types of mask and labels", kinds, Rule("those that were given: int32 and int16", lambda got: got == [
            torch.int32, torch.int16]), [
                Hint(lambda got: True, "Mask and labels keep their types: make the wider ones from them (new_zeros, "
                     "new_full)."),
        ]),
        Case("what stands in the padding is finite", hidden, Rule("a finite number", math.isfinite), [
            Hint(lambda got: True, "A masked place is multiplied by 0, and 0 · nan is nan: begin with zeros."),
        ]),
    ]


def shares() -> list[Case]:
    """One head whose shares can be said without a computer, then drawn ones against one softmax over everything."""
    return [*_shares_by_hand(), *_shares_under_stress(), *_shares_drawn()]


def _zeros(width: int, prefix: int):
    return lambda answer: answer(torch.zeros(1, 1, width, 4), torch.zeros(1, 1, width, 4), torch.zeros(1, 1, prefix, 4))


def _shares_by_hand() -> list[Case]:
    def scored(query, own, prefix):
        return lambda answer: answer(*(torch.tensor(one).view(1, 1, -1, 4) for one in (query, own, prefix)))

    unit, none = [2.0, 0.0, 0.0, 0.0], [0.0] * 4
    e = math.e
    return [
        Case("all scores 0, 3 tokens behind 2", _zeros(3, 2), torch.tensor([[[2 / 3, 2 / 4, 2 / 5]]]), [
            Hint(lambda got: tuple(got.shape) != (1, 1, 3), "One share for each query: (rows, heads, width)."),
            Hint(lambda got: bool((got.flatten() - 0.4).abs().max() < 1e-6), "Token i sees the prefix and the i tokens "
                 "up to itself; this one sees all three."),
            Hint(lambda got: bool((got.flatten() - torch.tensor([1 / 3, 1 / 2, 3 / 5])).abs().max() < 1e-6),
                 "That is the share of the tokens: the prefix has the rest."),
            Hint(lambda got: bool((got.flatten() - torch.tensor([1.0, 2 / 3, 2 / 4])).abs().max() < 1e-6),
                 "A token sees itself: the mask takes out what comes *after* it."),
            Hint(lambda got: bool((got.flatten() - 0.5).abs().max() < 1e-6), "A sum over keys on each side, not a mean "
                 "and not the largest."),
            Hint(lambda got: bool((got > 1).any()), "A share lies between 0 and 1: divide by the prefix *and* the "
                 "tokens."),
        ], tolerance=_FLOAT32, reason=_ORDER),
        Case("one key that is looked for, in the prefix", scored(unit, none, [*unit, *none]),
             torch.tensor([[[(e ** 2 + 1) / (e ** 2 + 2)]]]), [
                 Hint(lambda got: abs(float(got) - (e ** 4 + 1) / (e ** 4 + 2)) < 1e-5,
                      "Scores are divided by the root of the head's width, here 2."),
                 Hint(lambda got: abs(float(got) - (e + 1) / (e + 2)) < 1e-5,
                      "Divided by the head's width; it is its root."),
                 Hint(lambda got: abs(float(got) - e ** 2 / (e ** 2 + 1)) < 1e-5,
                      "All keys of the prefix count, also those nobody looks for: exp(0) is 1."),
        ], tolerance=_FLOAT32, reason=_ORDER),
        Case("one key that is looked for, among the tokens", scored([*none, *unit], [*unit, *none], none),
             torch.tensor([[[1 / 2, 1 / (e ** 2 + 2)]]]), tolerance=_FLOAT32, reason=_ORDER),
        Case("no prefix", lambda answer: answer(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4),
                                                torch.zeros(1, 1, 0, 4)), torch.zeros(1, 1, 2), [
            Hint(lambda got: True, "A prefix without tokens has a share of 0."),
            *(Hint(error, "A prefix may have no token at all: its share is 0, and max of nothing is an error.")
              for error in (RuntimeError, IndexError)),
        ]),
    ]


def _shares_under_stress() -> list[Case]:
    def far(prefix_score, own_score):
        query = torch.full((1, 1, 1, 1), 1.0)
        return lambda answer: answer(query, torch.full((1, 1, 1, 1), own_score),
                                     torch.full((1, 1, 1, 1), prefix_score))

    unstable = "exp of a score like this is infinite or 0: subtract the largest score first, or stay in logarithms."
    return [
        Case("scores of 500 and 499", far(500.0, 499.0), torch.full((1, 1, 1), 1 / (1 + math.exp(-1))), [
            Hint(lambda got: not bool(got.isfinite().all()), unstable)], tolerance=1e-5,
            reason="float32 scores of 500 have four figures behind the point"),
        Case("scores of -500 and -499", far(-500.0, -499.0), torch.full((1, 1, 1), 1 / (1 + math.exp(1))), [
            Hint(lambda got: not bool(got.isfinite().all()) or float(got) in (0.0, 0.5), unstable)], tolerance=1e-5,
            reason="float32 scores of 500 have four figures behind the point"),
    ]


def _shares_drawn() -> list[Case]:
    def drawn(rows, heads, width, prefix, size):
        generator = torch.Generator().manual_seed(rows + width)
        return [torch.randn(rows, heads, tokens, size, generator=generator) for tokens in (width, width, prefix)]

    def one_softmax(query, key, prefix_key):
        scores = query @ torch.cat([prefix_key, key], dim=2).transpose(2, 3) / math.sqrt(query.shape[-1])
        count = prefix_key.shape[2]
        scores[..., count:] += torch.full((query.shape[2],) * 2, -math.inf).triu(1)
        return scores.softmax(-1)[..., :count].sum(-1)

    def pull(answer):
        query, key, prefix_key = drawn(1, 2, 3, 4, 8)
        prefix_key.requires_grad_()
        answer(query, key, prefix_key).sum().backward()
        return prefix_key.grad

    return [
        Case("2 rows, 3 heads, 5 tokens, 4 virtual ones", lambda answer: answer(*drawn(2, 3, 5, 4, 8)),
             one_softmax(*drawn(2, 3, 5, 4, 8)), [
                 Hint(lambda got: tuple(got.shape) != (2, 3, 5), "One share for each query: (rows, heads, width)."),
        ], tolerance=1e-5, reason=_ORDER),
        Case("a head 64 wide", lambda answer: answer(*drawn(1, 1, 7, 16, 64)), one_softmax(*drawn(1, 1, 7, 16, 64)),
             tolerance=1e-5, reason=_ORDER),
        Case("the gradient of the prefix", pull, pull(one_softmax), [
            Hint(RuntimeError, "No gradient comes back to the prefix: no_grad, detach or item cuts it off."),
            Hint(lambda got: got is None, "No gradient comes back to the prefix."),
        ], tolerance=1e-5, reason=_ORDER),
    ]
