"""Cases for an answer that moves a weight by one step. Knows nothing about a notebook."""

import torch

from ftkit.course.cases import Case, Hint
from ftkit.course.results import same

_SUMS = "sums of float32 in another order differ in the last of their seven figures"
_OWN_TYPE = ("Each of the two keeps the type that it came in: turn the weight into the weight's at the end, and the "
             "momentum into the momentum's.")


def moving() -> list[Case]:
    """A learning rate of 0.1, betas of 0.5 and 0.75, and few entries, so that all can be done on paper."""
    return [*_moves(), *_momenta(), *_decays(), *_moves_at_the_edges(), *_types(), *_moves_by_rule()]


def _moved(weight, grad, momentum, rate=0.1, betas=(0.5, 0.75), decay=0.0, part=0):
    def run(answer):
        found = answer(torch.tensor(weight), torch.tensor(grad), torch.tensor(momentum), rate, *betas, decay)
        return found[part] if part is not None else [found[0], found[1]]
    return run


def _moves() -> list[Case]:
    ones = [1.0, 1.0, 1.0, 1.0]
    return [
        Case("all agree", _moved(ones, [2.0, -0.5, 1e-3, -7.0], [0.0] * 4), [0.9, 1.1, 0.9, 1.1], [
            Hint([1.1, 0.9, 1.1, 0.9], "This goes up the hill: take the move away."),
            Hint(lambda got: got[3] > 1.2, "Each entry moves by the learning rate, whatever the size of its gradient: "
                 "take the sign."),
            Hint(lambda got: got.dim() == 0, "Return two tensors: weight and momentum."),
        ], tolerance=1e-6, reason=_SUMS),
        # mixtures: 1, -1, 0.5, 1.5; the second goes against its gradient of 1
        Case("one entry goes against its gradient", _moved(ones, [1.0, 1.0, 1.0, 1.0], [1.0, -3.0, 0.0, 2.0]),
             [1 - 0.4 / 3, 1.0, 1 - 0.4 / 3, 1 - 0.4 / 3], [
            Hint([0.9, 1.1, 0.9, 0.9], "This is plain Lion: leave out the entries whose move goes against the present "
                 "gradient."),
            Hint([0.9, 1.0, 0.9, 0.9], "Of 4 entries 3 move: each of them by 4/3 of the learning rate."),
            Hint([0.9, 0.9, 0.9, 0.9], "The sign of the gradient alone is none of Lion's: mix momentum in first."),
            Hint(lambda got: got[1] > 1, "The second entry's move goes against its gradient: it stays."),
            Hint(lambda got: abs(got[0] - (1 - 0.3 / 4)) < 1e-4, "Divided by the wrong share: the fewer move, the "
                 "further they go."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("beta1 of 0.9", _moved([0.0, 0.0], [1.0, 1.0], [-0.2, -0.05], betas=(0.9, 0.3)), [0.0, -0.2], [
            Hint([-0.1, -0.1], "beta1 is the weight of the momentum, 1 − beta1 that of the gradient: -0.2 · 0.9 + 0.1 "
                 "is below 0."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("the move takes beta1", _moved([0.0, 0.0], [1.0, 1.0], [-2.0, 5.0], betas=(0.25, 0.9)), [-0.1, -0.1], [
            Hint([0.0, -0.2], "The move is mixed with beta1, the momentum with beta2: they are swapped here."),
        ], tolerance=1e-6, reason=_SUMS),
    ]


def _momenta() -> list[Case]:
    def momentum(grad, old, betas=(0.5, 0.75), decay=0.0, weight=(1.0, 1.0)):
        return _moved(list(weight), grad, old, betas=betas, decay=decay, part=1)

    return [
        Case("the new momentum", momentum([4.0, -8.0], [2.0, 0.0]), [2.5, -2.0], [
            Hint([3.0, -4.0], "The momentum is mixed with beta2, the move with beta1."),
            Hint([3.5, -6.0], "beta2 is the weight of the old momentum, 1 − beta2 that of the gradient."),
            Hint([2.0, 0.0], "The momentum has to take in the gradient, too."),
            Hint([3.25, -5.0], "The momentum is mixed from the old one, not from the mixture that gave the move."),
            Hint(lambda got: bool((got.abs() == 1).all()), "The sign is taken for the move alone: the momentum keeps "
                 "its size."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("the momentum of what was left out", momentum([1.0, 1.0], [1.0, -3.0]), [1.0, -2.0], [
            Hint(lambda got: got[1] != -2, "An entry that was left out takes its gradient into the momentum as well."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("decay does not enter the momentum", _moved([[8.0]], [[1.0]], [[0.0]], decay=0.5, part=1), [[0.25]], [
            Hint([[1.25]], "Decoupled means: weight decay shrinks the weight, and never enters gradient or momentum."),
        ], tolerance=1e-6, reason=_SUMS),
    ]


def _decays() -> list[Case]:
    return [
        Case("weight decay on a matrix", _moved([[4.0, -4.0]], [[1.0, 1.0]], [[0.0, 0.0]], decay=0.5), [[3.7, -3.9]], [
            Hint([[3.9, -4.1]], "The weight is to shrink by learning rate · weight decay before the move. (Added to "
                 "the gradient it drowns in the sign.)"),
            Hint([[1.9, -2.1]], "The learning rate belongs to the decay as well: 1 − learning_rate · weight_decay."),
            Hint([[4.1, -4.3]], "The decay is taken away, not added."),
            Hint(lambda got: abs(got[0][0] - 3.705) < 1e-3, "Shrink the weight, then take the move away: the move is "
                 "not shrunk."),
            Hint(lambda got: got[0][0] == 3.9, "Added to the gradient the decay drowns in the sign: shrink the weight "
                 "itself."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("none on one dimension", _moved([4.0, -4.0], [1.0, 1.0], [0.0, 0.0], decay=0.5), [3.9, -4.1], [
            Hint([3.7, -3.9], "Biases and the weights of norms have one dimension, and are not to shrink."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("three dimensions shrink", _moved([[[2.0]]], [[[1.0]]], [[[0.0]]], decay=1.0), [[[1.7]]], [
            Hint([[[1.9]]], "Two dimensions or more shrink."),
        ], tolerance=1e-6, reason=_SUMS),
    ]


def _moves_at_the_edges() -> list[Case]:
    return [
        Case("nothing agrees", _moved([1.0, 2.0], [1.0, -1.0], [-5.0, 5.0]), [1.0, 2.0], [
            Hint(lambda got: bool(got.isnan().any() or got.isinf().any()), "Where no entry agrees, none moves: do not "
                 "divide by 0."),
            Hint(ZeroDivisionError, "Where no entry agrees, none moves: do not divide by 0."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("nothing agrees, and it still shrinks", _moved([[1.0, 2.0]], [[1.0, -1.0]], [[-5.0, 5.0]], decay=1.0),
             [[0.9, 1.8]], [
                 Hint([[1.0, 2.0]], "Weight decay is no part of the move: it acts whether entries agree or not."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a gradient of 0", _moved([1.0, 1.0], [0.0, 1.0], [3.0, 0.0]), [1.0, 0.8], [
            Hint(lambda got: got[0] != 1.0, "An entry whose gradient is 0 has nothing to agree with: it stays."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a row that did not occur", _moved([1.0, 1.0], [1.0, 0.0], [1.0, 0.0]), [0.8, 1.0], [
            Hint([0.9, 1.0], "An entry whose gradient and momentum are 0 is not kept, as u·g is 0 there; and it is one "
                 "of the n all the same."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a gradient of 1e-25", _moved([1.0, 1.0], [1e-25, 1.0], [0.0, 0.0]), [0.9, 0.9], [
            Hint([1.0, 0.8], "The product of two numbers as small as 1e-25 is 0 in float32: multiply g by the sign u."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("new tensors, also where nothing moves", _given_back, [False, False], [
            Hint(lambda got: True, "What came in came back: the optimizer keeps the old weight, so return a new "
                 "tensor, with clone() where nothing is computed."),
        ]),
    ]


def _given_back(answer) -> list[bool]:
    weight, grad, momentum = torch.ones(2), torch.tensor([1.0, -1.0]), torch.tensor([-5.0, 5.0])
    found = answer(weight, grad, momentum, 0.1, 0.5, 0.75, 0.0)
    return [one is other for one, other in zip(found, (weight, momentum), strict=True)]


def _types() -> list[Case]:
    coarse, fine = torch.bfloat16, torch.float32

    def moved(weight, grad, momentum):
        return lambda answer: answer(*(torch.full((2, 2), 1.001, dtype=one) for one in (weight, grad, momentum)),
                                     0.1, 0.5, 0.75, 0.1)

    def types(*given):
        return lambda answer: [str(one.dtype) for one in moved(*given)(answer)]

    return [
        Case("bfloat16 stays bfloat16", types(coarse, coarse, coarse), ["torch.bfloat16"] * 2, [
            Hint(lambda got: True, "Weight and momentum keep their type."),
        ]),
        Case("bfloat16, but for a momentum of float32", types(coarse, coarse, fine),
             ["torch.bfloat16", "torch.float32"], [Hint(lambda got: True, _OWN_TYPE)]),
        Case("float32, but for a momentum of bfloat16", types(fine, fine, coarse),
             ["torch.float32", "torch.bfloat16"], [Hint(lambda got: True, _OWN_TYPE)]),
        Case("bfloat16, but for a gradient of float32", types(coarse, fine, coarse), ["torch.bfloat16"] * 2, [
            Hint(lambda got: True, _OWN_TYPE),
        ]),
        Case("the figures of a momentum of float32", lambda answer: moved(coarse, coarse, fine)(answer)[1],
             torch.full((2, 2), 1.00075), [
            Hint(lambda got: bool((got == 1).all()), "1.001 became 1: the momentum was turned into bfloat16 on the "
                 "way, which holds two to three figures."),
        ], tolerance=1e-6, reason=_SUMS),
    ]


def _moves_by_rule() -> list[Case]:
    generator = torch.Generator().manual_seed(5)
    weight, grad, momentum = (torch.randn(6, 9, generator=generator) for _ in range(3))
    want = _entry_by_entry(weight, grad, momentum, 0.01, 0.9, 0.99, 0.1)

    def run(answer):
        found = answer(weight.clone(), grad.clone(), momentum.clone(), 0.01, 0.9, 0.99, 0.1)
        return [found[0], found[1]]

    return [Case("54 entries, drawn", run, want, [
        Hint(lambda got: same(want, got[::-1], 1e-5), "Return the weight first, then the momentum."),
    ], tolerance=1e-5, reason=_SUMS)]


def _entry_by_entry(weight, grad, momentum, rate, beta1, beta2, decay) -> list[torch.Tensor]:
    """The same with Python's own numbers, an entry at a time."""
    mixed = [beta1 * old + (1 - beta1) * new for old, new in zip(momentum.flatten().tolist(), grad.flatten().tolist(),
                                                                 strict=True)]
    moves = [(one > 0) - (one < 0) if one * new > 0 else 0 for one, new in zip(mixed, grad.flatten().tolist(),
                                                                               strict=True)]
    longer = len(moves) / max(1, sum(map(abs, moves)))
    weights = [one - rate * decay * one - rate * longer * move for one, move in zip(weight.flatten().tolist(), moves,
                                                                                    strict=True)]
    momenta = [beta2 * old + (1 - beta2) * new for old, new in zip(momentum.flatten().tolist(), grad.flatten().tolist(),
                                                                   strict=True)]
    return [torch.tensor(one).view_as(weight) for one in (weights, momenta)]
