"""Cases for an answer that clips gradients by their norm. Knows nothing about a notebook."""

import math

import torch

from ftkit.course.cases import Case, Hint, Rule

_SUMS = "sums of float32 in another order differ in the last of their seven figures"
_BFLOAT16 = "bfloat16 holds two to three figures, and is rounded once"
_FLOAT16 = "float16 holds three figures, and is rounded once"


def clipping() -> list[Case]:
    """Gradients of 3 and 4, whose norm is 5 together."""
    return [*_clipped_by_hand(), *_left_alone(), *_in_other_types(), *_multiplied_once(), *_no_finite_norm()]


def _clipped(gradients: list, most: float, *, norm: bool = False):
    """What an answer leaves in the tensors that it was given, whatever it does to their list; or what it returns."""
    def run(answer):
        mine = _copies(gradients)
        found = answer(list(mine), most)
        return found if norm else [one for one in mine if one is not None]
    return run


def _copies(gradients: list) -> list:
    return [None if one is None else torch.as_tensor(one).clone() for one in gradients]


def _places(answer) -> list[bool]:
    """Which places of the list still hold what was put there."""
    mine = _copies(_THREE_FOUR)
    given = list(mine)
    answer(given, 1.0)
    return [one is other for one, other in zip(mine, given, strict=False)]


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
            Hint(_tensors([3.0, 0.0], [[0.0], [4.0]]), "Nothing was changed: write into the tensors "
                 "themselves, with mul_; a new tensor in the list is no weight's gradient."),
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
        Case("the kind of number", _clipped(_THREE_FOUR, 1.0, norm=True),
             Rule("a float", lambda got: isinstance(got, float)), [
                 Hint(torch.is_tensor, "The norm is still a tensor: return a float, with float() or item()."),
                 Hint(lambda got: True, "Return the norm as a float."),
        ]),
        Case("the list: all where it was", _places, [True, True, True], [
            Hint(lambda got: True, "The list is the caller's: leave every entry in its place, None too, and write into "
                 "the tensors."),
        ]),
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
        Case("a little below the limit: the same bits", _clipped([low], 0.24503), [low], [
            Hint(lambda got: True, "A norm of 0.24495 is not above 0.24503: no margin, leave every bit as it is."),
        ]),
        Case("exactly at the limit", _clipped([[3.0, 4.0]], 5.0), _tensors([3.0, 4.0]), [
            Hint(lambda got: True, "A norm of exactly `most` is not above it: leave every bit as it is."),
        ]),
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
    vast = torch.full((4,), 1e30, dtype=torch.bfloat16)
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
        Case("bfloat16, entries of 1e30", _clipped([vast], 1.0, norm=True), 2 * float(vast[0]), [
            Hint(math.inf, "bfloat16 reaches as far as float32, and the square of 1e30 fits neither: float64 for every "
                 "type."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("4096 entries of bfloat16", _clipped([coarse], 32.0, norm=True), 64.0, tolerance=1e-6, reason=_SUMS),
        Case("bfloat16 stays bfloat16", _clipped([coarse], 32.0), [coarse / 2], tolerance=1e-2, same_dtype=True,
             reason=_BFLOAT16),
    ]


def _half(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float16)


def _multiplied_once() -> list[Case]:
    """Norms and limits with which a factor in two pieces, or in float16, does not fit, or loses its figures."""
    return [
        Case("float16, entries of 1000, at most 100", _clipped([_half(1000, 1000, 1000, 1000)], 100.0),
             [_half(50, 50, 50, 50)], [
            Hint(lambda got: bool(got[0].isinf().any()), "1000 · 100 does not fit float16: multiply once, by "
                 "most/norm."),
        ], tolerance=1e-3, same_dtype=True, reason=_FLOAT16),
        Case("float16, a norm of 84,853", _clipped([_half(60_000, 60_000)], 1.0), [_half(0.7071, 0.7071)], [
            Hint(lambda got: not got[0].any(), "norm/most is 84,853, which is infinite in float16: leave the factor a "
                 "float of Python's."),
        ], tolerance=1e-3, same_dtype=True, reason=_FLOAT16),
        Case("float16, 0.03 beside 60,000: a hundred times what it becomes", lambda answer: 100 * float(
            _clipped([_half(60_000, 0.03)], 30_000.0)(answer)[0][1]), 1.5, [
            Hint(lambda got: 1.3 < got < 1.7, "0.03/60,000 has one figure left in float16: multiply once, by "
                 "most/norm, instead of dividing by the norm first."),
        ], tolerance=2e-3, reason=_FLOAT16),
        Case("a norm of 5e-8, at most 1e-8: 1e8 times what is left", lambda answer: [
            one * 1e8 for one in _clipped([[3e-8, 4e-8]], 1e-8)(answer)], _tensors([0.6, 0.8]), [
            Hint(lambda got: float(got[0][0]) < 0.3, "Something was added to the norm before dividing by it, and such "
                 "a norm drowns in it: one above most is never 0."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("float16 and float32 in one list: the norm", _clipped([_half(3, 4), [3e6, 4e6]], 1.0, norm=True),
             math.sqrt(25 + 25e12), [
            Hint(math.inf, "3e6 does not fit float16: turn each tensor into float64 for itself, not all into the type "
                 "of the first."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("float16 and float32 in one list", _clipped([_half(6), [8.0]], 1.0), [_half(0.6), torch.tensor([0.8])],
             tolerance=1e-3, same_dtype=True, reason=_FLOAT16),
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
