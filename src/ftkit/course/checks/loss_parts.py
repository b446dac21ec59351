"""Cases for an answer that gives the loss of a step in parts, one a micro-batch. Knows nothing about a notebook."""

import math

import torch

from ftkit.chat import IGNORED
from ftkit.course.cases import Case, Hint

_SUMS = "sums of float32 in another order differ in the last of their seven figures"
LN_2 = math.log(2)


def parts() -> list[Case]:
    """Micro-batches whose tokens have chances of 1/2 and 1/4, so that the parts can be had by counting."""
    return [*_parts_by_counting(), *_parts_and_gradients(), *_parts_at_the_edges()]


def _logits(chances: list[list[float]]) -> torch.Tensor:
    """Logits over two tokens that give token 1 these chances."""
    one = torch.tensor(chances)
    return torch.stack([1 - one, one], -1).log()  # (rows, width, 2)


def _short_and_long() -> tuple[list, list, list]:
    """One label of loss ln 2 in the first micro-batch, three of 2·ln 2 in the second, which is wider."""
    logits = [_logits([[0.8, 0.5, 0.9]]), _logits([[0.25, 0.25, 0.25, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9, 0.9]])]
    labels = [torch.tensor([[IGNORED, IGNORED, 1]]), torch.tensor([[IGNORED, 1, 1, 1, IGNORED], [IGNORED] * 5])]
    return logits, labels, [torch.ones(1, 3), torch.ones(2, 5)]


def _weighted() -> tuple[list, list, list]:
    """The same; the last of the three tokens counts four times, and weights stand where nothing carries loss, too."""
    logits, labels, _ = _short_and_long()
    return logits, labels, [torch.tensor([[9.0, 9.0, 1.0]]),
                            torch.tensor([[9.0, 1.0, 1.0, 4.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]])]


def _parts_by_counting() -> list[Case]:
    return [
        Case("one label and three, all of weight 1", lambda answer: answer(*_short_and_long()),
             [LN_2 / 4, 6 * LN_2 / 4], [
            Hint([LN_2, 2 * LN_2], "These are means of each micro-batch: divide by the weight of all together."),
            Hint([LN_2 / 2, LN_2], "Divided by the number of micro-batches: a token of the shorter one would count "
                 "three times as much. Divide by the weight of all label tokens."),
            Hint([LN_2 / 13, 6 * LN_2 / 13], "A weight where no label stands must not count in the sum of weights."),
            Hint([LN_2, 6 * LN_2], "These are sums: divide by the weight of all label tokens."),
            Hint(lambda got: isinstance(got, torch.Tensor) and not got.dim() or isinstance(got, float),
                 "One part for each micro-batch is wanted, in a list: each is sent backwards before the next is made."),
            Hint([-math.log(0.9) / 4, (2 * 2 * LN_2 - math.log(0.9)) / 4], "The logits at a place predict the next "
                 "token: pair logits[:, :-1] with labels[:, 1:]."),
            Hint(lambda got: any(math.isnan(one) for one in got), "A place without a label came in as nan: mind "
                 "places of -100."),
            Hint(IndexError, "-100 is no token: leave those places out, or let cross_entropy ignore them."),
            Hint(RuntimeError, "Micro-batches differ in width: go through them one by one."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("one token counts four times", lambda answer: answer(*_weighted()), [LN_2 / 7, 12 * LN_2 / 7], [
            Hint([LN_2 / 4, 12 * LN_2 / 4], "Divide by the sum of the weights, not by the number of tokens."),
            Hint([LN_2 / 4, 6 * LN_2 / 4], "The weights of the tokens play no part in this."),
            Hint([LN_2, 2 * LN_2], "These are means of each micro-batch: divide by the weight of all together."),
            Hint([LN_2 / 2, LN_2], "Divided by the number of micro-batches: divide by the weight of all label tokens."),
            Hint([LN_2, 12 * LN_2], "These are sums: divide by the weight of all label tokens."),
            Hint(_in_ratio(1, 36), "Each weight came in twice: it is one factor of its token's loss."),
            Hint(lambda got: _in_ratio(1, 12)(got) and 0 < got[0] < LN_2 / 20, "A weight where no label stands must "
                 "not count in the sum of weights: padding and prompts carry none."),
            Hint(_in_ratio(9, 22), "A weight belongs to the token at its own place, as a label does: shift both."),
            Hint(_in_ratio(-math.log(0.9), 4 * LN_2 - 4 * math.log(0.9)), "The logits at a place predict the next "
                 "token: pair logits[:, :-1] with labels[:, 1:]."),
        ], tolerance=1e-5, reason=_SUMS),
    ]


def _in_ratio(one: float, other: float):
    """Whether two parts are as one to other, whatever both were divided by."""
    return lambda got: len(got) == 2 and math.isclose(float(got[0]) * other, float(got[1]) * one, rel_tol=1e-4)


def _drawn(seed: int = 0) -> tuple[list, list, list]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 7), (1, 4), (4, 9)]
    logits = [torch.randn(*shape, 11, generator=generator) for shape in shapes]
    labels = [torch.randint(11, shape, generator=generator) for shape in shapes]
    for one in labels:
        one[torch.rand(one.shape, generator=generator) < 0.4] = IGNORED
    return logits, labels, [torch.rand(shape, generator=generator) * 3 for shape in shapes]


def _token_by_token(logits: list, labels: list, weights: list) -> list[float]:
    """The parts in float64, a token at a time."""
    sums, total = [], 0.0
    for scores, wanted, worth in zip(logits, labels, weights, strict=True):
        chances = scores.double().log_softmax(-1)
        tokens = [(row, place) for row in range(len(wanted)) for place in range(1, wanted.shape[1])
                  if wanted[row, place] != IGNORED]
        sums.append(sum(float(-worth[one] * chances[one[0], one[1] - 1, wanted[one]]) for one in tokens))
        total += sum(float(worth[one]) for one in tokens)
    return [one / total for one in sums]


def _gradients(answer, given: tuple, whole: bool) -> list[torch.Tensor]:
    """The gradients of the logits: of each part sent backwards for itself, or of one big batch.

    Where a micro-batch has no label, all parts must take `backward`; elsewhere one without a graph is passed over.
    """
    logits = [one.clone().requires_grad_() for one in given[0]]
    if whole:
        chances = [-one[:, :-1].log_softmax(-1) for one in logits]
        picked = [one.gather(-1, wanted[:, 1:].clamp(min=0)[..., None])[..., 0] * (wanted[:, 1:] >= 0) * worth[:, 1:]
                  for one, wanted, worth in zip(chances, given[1], given[2], strict=True)]
        carried = sum(((wanted[:, 1:] >= 0) * worth[:, 1:]).sum()
                      for wanted, worth in zip(given[1], given[2], strict=True))
        (sum(one.sum() for one in picked) / carried).backward()
        return [one.grad for one in logits]
    every = not all((one[:, 1:] >= 0).any() for one in given[1])
    for part in answer(logits, given[1], given[2]):
        if every or torch.is_tensor(part) and part.requires_grad:
            part.backward()
    return [torch.zeros_like(one) if one.grad is None else one.grad for one in logits]


def _parts_and_gradients() -> list[Case]:
    given = _drawn()
    return [
        Case("three micro-batches, drawn", lambda answer: answer(*_drawn()), _token_by_token(*given),
             tolerance=1e-5, reason=_SUMS),
        Case("their gradients are those of one big batch", lambda answer: _gradients(answer, _drawn(), whole=False),
             _gradients(None, given, whole=True), [
            Hint(RuntimeError, "Each part is sent backwards for itself: no two may share a piece of the graph."),
            Hint(lambda got: not any(one.any() for one in got), "No gradient reaches the logits: compute with torch "
                 "alone, without item() or detach()."),
        ], tolerance=1e-5, reason=_SUMS),
    ]


def _with_nothing() -> tuple[list, list, list]:
    logits, labels, weights = _short_and_long()
    return logits, [labels[0], torch.full((2, 5), IGNORED)], weights


def _of_small_weights() -> tuple[list, list, list]:
    logits, labels, weights = _short_and_long()
    return logits, labels, [one / 10 for one in weights]


def _parts_at_the_edges() -> list[Case]:
    def first_label():
        return [_logits([[0.5, 0.5]])], [torch.tensor([[1, 1]])], [torch.tensor([[3.0, 1.0]])]

    def weight_zero():
        return [_logits([[0.5, 0.25, 0.5]])], [torch.tensor([[IGNORED, 1, 1]])], [torch.tensor([[1.0, 1.0, 0.0]])]

    return [
        Case("a micro-batch without labels", lambda answer: answer(*_with_nothing()), [LN_2, 0.0], [
            Hint(lambda got: any(math.isnan(one) for one in got), "A micro-batch without a label has a loss of 0: take "
                 "sums, and divide by the weight of all micro-batches, which is not 0."),
            Hint(lambda got: len(got) == 1, "A part for each micro-batch, also for one without a label."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("backward on every part", lambda answer: _gradients(answer, _with_nothing(), whole=False),
             _gradients(None, _with_nothing(), whole=True), [
            Hint(Exception, "backward is called on every part, also on that of a micro-batch without a label: let it "
                 "come of the logits, as a sum of products with 0 does."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("weights that add up to 0.4", lambda answer: answer(*_of_small_weights()), [LN_2 / 4, 6 * LN_2 / 4], [
            Hint([LN_2 / 10, 6 * LN_2 / 10], "Divide by the sum of the weights as it is, 0.4 here, not by 1 at least."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("a label at the first place", lambda answer: answer(*first_label()), [LN_2], [
            Hint([LN_2 / 4], "Nothing predicts the first token of a row: its weight does not count either."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("a token of weight 0", lambda answer: answer(*weight_zero()), [LN_2], tolerance=1e-5, reason=_SUMS),
        Case("logits in the hundreds", lambda answer: answer(
            [torch.tensor([[[0.0, 300.0, 0.0], [0.0, 0.0, 0.0]]])], [torch.tensor([[IGNORED, 0]])],
            [torch.ones(1, 2)]), [300.0], [
                Hint(lambda got: not math.isfinite(got[0]), "exp of such a logit is infinite: take cross_entropy or "
                     "log_softmax, which never form it."),
        ], tolerance=1e-5, reason=_SUMS),
    ]
