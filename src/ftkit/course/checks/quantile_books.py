"""Cases for answers that make codebooks from quantiles. Knows nothing about a notebook."""

import math
from statistics import NormalDist

import torch

from ftkit.course.cases import Case, Hint

_FLOAT32 = "float32 quantiles keep six of seven figures, and NF4's own shares are rounded to seven places"
_WIDE = "the outermost quantile moves by 1e-4 of itself when its share moves by a last bit of float32"


def _uniform(share):
    return 2 * share - 1


def _logistic(share):
    return torch.log(share / (1 - share))


def _normal(share):
    return torch.special.ndtri(share)


def _cauchy(share):
    return torch.tan(math.pi * (share - 0.5))


def quantiles() -> list[Case]:
    """A uniform distribution on paper: its quantiles are evenly spaced, so 2 bits give −1, 0, ½ and 1."""
    return _quantiles_on_paper() + _quantiles_of_a_logistic() + _quantiles_of_others()


def _made(inverse_cdf, bits):
    return lambda book: book(inverse_cdf, bits)


def _quantiles_on_paper() -> list[Case]:
    return [
        Case("uniform, 2 bits", _made(_uniform, 2), [-1, 0, 0.5, 1], [
            Hint([-1, 0, 0, 0.5, 1], "0 came in twice: leave the last quantile out, on both sides; it is 0 itself."),
            Hint([-1, 0, 0, 0, 0.5, 1], "0 came in three times: leave the last quantile out on both sides."),
            Hint([0, 0, 0, 1], "Leave out the last quantile, which is 0, and not the first."),
            Hint([0, 0.5, 1, 1], "The values below zero are quantiles with a minus."),
            Hint([-1, -0.5, 0.5, 1], "There is no 0: take one value fewer below, and put 0 in."),
            Hint([-1, -0.5, 0, 1], "The larger half lies above zero: 2**(bits−1) values there, one fewer below."),
            Hint([-1, -0.5, 0, 0.5, 1], "These are five values, one more than 2 bits can name: one fewer below zero."),
            Hint([-1, 0, 1, 0.5], "In rising order, please: the values above zero come falling, so flip them."),
            Hint([1, 0.5, 0, -1], "In rising order, please: flip what falls."),
            Hint(lambda got: len(got) == 4 and not 0.999 < max(got) < 1.001, "Divide by the largest value."),
            Hint(lambda got: len(got) != 4, "2 bits name four values: two above zero, one below, and zero."),
        ], tolerance=1e-5, reason=_FLOAT32),
        Case("uniform, 1 bit", _made(_uniform, 1), [0, 1], [
            Hint(lambda got: True, "One bit names two values: none below zero, zero, and 1."),
            Hint(Exception, "With one bit there is no value below zero: divide all by the largest one."),
        ], tolerance=1e-5, reason=_FLOAT32),
        Case("type", lambda book: str(getattr(book(_uniform, 3), "dtype", "no tensor")), "torch.float32", [
            Hint(lambda got: True, "Return a tensor in float32.")]),
    ]


def _quantiles_of_a_logistic() -> list[Case]:
    def logistic(tail=None):
        return _codebook_by_hand(lambda share: math.log(share / (1 - share)), 3, tail)

    return [
        Case("logistic, 3 bits", _made(_logistic, 3), logistic(), [
            Hint(lambda got: not all(map(math.isfinite, got)), "The quantile of 1 is infinite: begin at the tail, not "
                 "at 1."),
            Hint(logistic(0.9677083), "That tail is NF4's: put 2**bits "
                 "in the place of its 16, and one less in the place of its 15."),
            Hint(logistic(1 - 1 / 16), "This tail leaves out half of "
                 "one of 8 parts: take the mean of that and of half of one of 7."),
            Hint(logistic(1 - 1 / 14), "This tail leaves out half of "
                 "one of 7 parts: take the mean of that and of half of one of 8."),
            Hint(logistic(1 - (1 / 8 + 1 / 7) / 2), "This tail leaves out "
                 "whole parts: it is half of one of 8, and half of one of 7."),
            Hint([-1, -2 / 3, -1 / 3, 0, 0.25, 0.5, 0.75, 1], "These are evenly spaced: it is the shares that are, and "
                 "their quantiles lie further apart towards the ends."),
        ], tolerance=1e-5, reason=_FLOAT32),
    ]


def _quantiles_of_others() -> list[Case]:
    normal = NormalDist().inv_cdf
    return [
        Case("normal, 4 bits: NF4", _made(_normal, 4), _codebook_by_hand(normal, 4), tolerance=1e-5, reason=_FLOAT32),
        Case("normal, 3 and 5 bits", lambda book: [book(_normal, 3), book(_normal, 5)],
             [_codebook_by_hand(normal, 3), _codebook_by_hand(normal, 5)], tolerance=1e-5, reason=_FLOAT32),
        Case("8 bits: how many above, at and below zero", lambda book: _signs(book(_normal, 8)), [128, 1, 127], [
            Hint([127, 1, 128], "The larger half lies above zero."),
            Hint([128, 0, 128], "There is no 0."),
            Hint(lambda got: sum(got) != 256, "8 bits name 256 values: count with 2**bits, not with 16.")]),
        Case("heavy tails, 7 bits", _made(_cauchy, 7), _codebook_by_hand(lambda p: math.tan(math.pi * (p - 0.5)), 7),
             tolerance=1e-3, reason=_WIDE),
    ]


def _codebook_by_hand(inverse_cdf, bits: int, tail: float | None = None) -> list[float]:
    count = 2**bits
    tail = tail or 1 - (1 / count + 1 / (count - 1)) / 4

    def side(many):
        return [inverse_cdf(tail + (0.5 - tail) * place / many) for place in range(many)]

    above, below = side(count // 2), side(count // 2 - 1)
    return [value / above[0] for value in [*(-each for each in below), 0.0, *reversed(above)]]


def _signs(values) -> list[int]:
    values = torch.as_tensor(values)
    return [int((values > 0).sum()), int((values == 0).sum()), int((values < 0).sum())]
