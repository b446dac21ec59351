"""Cases for answers that clip gradients and that move a weight by one step. Knows nothing about a notebook."""

import math

import torch

from ftkit.course.cases import Case, Hint, Rule
from ftkit.course.results import same

_SUMS = "sums of float32 in another order differ in the last of their seven figures"
_BFLOAT16 = "bfloat16 holds two to three figures, and is rounded once"
_FLOAT16 = "float16 holds three figures, and is rounded once"


def clipping() -> list[Case]:
    """Gradients of 3 and 4, whose norm is 5 together."""
    return [*_clipped_by_hand(), *_left_alone(), *_in_other_types(), *_no_finite_norm()]


def _clipped(gradients: list, most: float, *, norm: bool = False):
    """What an answer leaves of the gradients, or what it returns."""
    def run(answer):
        mine = [None if one is None else torch.as_tensor(one).clone() for one in gradients]
        found = answer(mine, most)
        return found if norm else [one for one in mine if one is not None]
    return run


_THREE_FOUR = [torch.tensor([3.0, 0.0]), None, torch.tensor([[0.0], [4.0]])]


def _tensors(*numbers: list) -> list[torch.Tensor]:
    return [torch.tensor(one) for one in numbers]


def _clipped_by_hand() -> list[Case]:
    return [
        Case("a norm of 5, at most 1", _clipped(_THREE_FOUR, 1.0), _tensors([0.6, 0.0], [[0.0], [0.8]]), [
            Hint(AttributeError, "A weight that took no part has None for a gradient: pass over it."),
            Hint(TypeError, "A weight that took no part has None for a gradient: pass over it."),
            Hint(_tensors([1.0, 0.0], [[0.0], [1.0]]), "Each tensor was clipped for itself, which turns the gradient: "
                 "one norm over all, one factor for all."),
            Hint(_tensors([3.0, 0.0], [[0.0], [4.0]]), "Nothing was changed: write into the tensors, with mul_."),
            Hint(lambda got: _alike(got, [3 / 7, 4 / 7]), "The norm of all is not the sum of the norms: add up the "
                 "squares, then take the root."),
            Hint(lambda got: _alike(got, [3 / 25, 4 / 25]), "The root is missing: the norm is 5 here, not 25."),
            Hint(lambda got: _alike(got, [0.75, 1.0]), "This goes by the largest entry: the norm is the root of the "
                 "sum of squares."),
            Hint(lambda got: _alike(got, [1.2, 1.6]) or _alike(got, [0.6 * math.sqrt(2), 0.8 * math.sqrt(2)]),
                 "Add the squares up: no mean."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("what is returned", _clipped(_THREE_FOUR, 1.0, norm=True), 5.0, [
            Hint(1.0, "The norm before clipping is what a log needs: this is the one after it."),
            Hint(0.2, "The norm before clipping is wanted, not the factor."),
            Hint(lambda got: isinstance(got, list), "The norm before clipping is to be returned; the gradients are "
                 "changed in place."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("at most 2", _clipped([[6.0, 8.0]], 2.0), _tensors([1.2, 1.6]), [
            Hint(lambda got: _alike(got, [0.6, 0.8]), "Scaled to 1: `most` is 2 here."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a single number and three dimensions", _clipped([2.0, [[[1.0, 2.0]]]], 1.5),
             [torch.tensor(1.0), torch.tensor([[[0.5, 1.0]]])], tolerance=1e-6, reason=_SUMS),
    ]


def _alike(got: list, want: list[float]) -> bool:
    return torch.allclose(torch.stack([got[0].flatten()[0], got[-1].flatten()[-1]]), torch.tensor(want), atol=1e-4)


def _left_alone() -> list[Case]:
    low = torch.tensor([0.1, 0.2, 0.7]) / 3
    return [
        Case("below the limit: the same bits", _clipped([low], 10.0), [low], [
            Hint(lambda got: float(got[0].norm()) > 1, "Scaled up: a short gradient stays as short as it is."),
            Hint(lambda got: True, "A short gradient stays as it is, to the last bit: do not multiply it at all."),
        ]),
        Case("exactly at the limit", _clipped([[3.0, 4.0]], 5.0), _tensors([3.0, 4.0])),
        Case("all zero", _clipped([[0.0, 0.0], [0.0]], 1.0), _tensors([0.0, 0.0], [0.0]), [
            Hint(lambda got: bool(got[0].isnan().any()), "A norm of 0 divides by 0, and 0/0 is nan: leave it alone."),
            Hint(ZeroDivisionError, "A norm of 0 divides by 0: leave such gradients alone."),
        ]),
        Case("nothing but None", _clipped([None, None], 1.0, norm=True), 0.0, [
            Hint(Exception, "Where no weight took part the norm is 0.0."),
        ]),
        Case("no gradient at all", _clipped([], 1.0, norm=True), 0.0, [
            Hint(Exception, "Of an empty list the norm is 0.0."),
        ]),
    ]


def _in_other_types() -> list[Case]:
    coarse = torch.full((4096,), 1.0, dtype=torch.bfloat16)
    halves = torch.full((4,), 300.0, dtype=torch.float16)
    return [
        Case("float16, entries of 300", _clipped([halves], 1.0, norm=True), 600.0, [
            Hint(math.inf, "300² is 90,000, and float16 ends at 65,504: turn into float64 before squaring."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("float16, clipped", _clipped([halves], 1.0), [torch.full((4,), 0.5, dtype=torch.float16)], [
            Hint(lambda got: not got[0].any(), "The factor came out as 0: 300² does not fit float16."),
        ], tolerance=1e-3, same_dtype=True, reason=_FLOAT16),
        Case("float32, entries of 1e30", _clipped([[3e30, 4e30]], 1.0, norm=True), 5e30, [
            Hint(math.inf, "The square of 1e30 does not fit float32: turn into float64 before squaring."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("float32, entries of 1e-30", _clipped([[3e-30, 4e-30]], 1.0, norm=True), Rule(
            "5e-30", lambda got: abs(float(got) - 5e-30) < 1e-35), [
                Hint(0.0, "The square of 1e-30 is 0 in float32: turn into float64 before squaring."),
        ]),
        Case("4096 entries of bfloat16", _clipped([coarse], 32.0, norm=True), 64.0, tolerance=1e-6, reason=_SUMS),
        Case("bfloat16 stays bfloat16", _clipped([coarse], 32.0), [coarse / 2], tolerance=1e-2, same_dtype=True,
             reason=_BFLOAT16),
    ]


def _no_finite_norm() -> list[Case]:
    drawn = torch.randn(50, 7, generator=torch.Generator().manual_seed(2))
    norm = math.sqrt(sum(one * one for one in drawn.flatten().tolist()))
    return [
        Case("inf among them", _clipped([[math.inf, 2.0]], 1.0), _tensors([math.inf, 2.0]), [
            Hint(lambda got: bool(got[0].isnan().any()), "inf · (1/inf) is nan, and a good number beside it became 0: "
                 "with an infinite norm leave all of them, so that whoever skips the step sees what came."),
            Hint(lambda got: True, "With an infinite norm leave all of them, so that whoever skips the step sees what "
                 "came."),
        ]),
        Case("nan among them", _clipped([[math.nan, 2.0]], 1.0), _tensors([math.nan, 2.0]), [
            Hint(lambda got: True, "With a norm of nan leave all of them: a factor of nan would spoil the others."),
        ]),
        Case("nan is returned", _clipped([[math.nan, 2.0], [1.0]], 1.0, norm=True), math.nan, [
            Hint(lambda got: True, "A norm of nan is told, not hidden."),
        ]),
        Case("350 numbers, drawn: the norm", _clipped([drawn[:20], None, drawn[20:]], 3.0, norm=True), norm,
             tolerance=1e-6, reason=_SUMS),
        Case("350 numbers, drawn", _clipped([drawn[:20], None, drawn[20:]], 3.0),
             [drawn[:20] * (3 / norm), drawn[20:] * (3 / norm)], tolerance=1e-6, reason=_SUMS),
    ]


def moving() -> list[Case]:
    """A learning rate of 0.1, betas of 0.5 and 0.75, and few entries, so that all can be done on paper."""
    return [*_moves(), *_momenta(), *_decays(), *_moves_at_the_edges(), *_moves_by_rule()]


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
        Case("bfloat16 stays bfloat16", lambda answer: [str(one.dtype) for one in answer(
            *(torch.ones(2, 2, dtype=torch.bfloat16) for _ in range(3)), 0.1, 0.9, 0.99, 0.1)],
             ["torch.bfloat16"] * 2, [
                 Hint(lambda got: True, "Weight and momentum keep their type."),
        ]),
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
