"""Results of answers: whether two are the same, and how one is shown in a table. Knows nothing about lessons."""

import math
from collections.abc import Mapping

import numpy
import torch

from ftkit.course.cases import Rule

SHOWN_CHARACTERS = 60
_SHOWN_VALUES = 16  # of a large tensor


def same(want: object, got: object, tolerance: float = 0.0, same_dtype: bool = False) -> bool:
    """Whether a result is the wanted one: numbers, text, lists, mappings, arrays and tensors, nested at will.

    Tensors must have the same shape. NaN is the same as NaN, True is not the same as 1.

    Args:
        want: the right result, or a Rule.
        got: the result in question; a list stands for a tensor of the same numbers.
        tolerance: absolute and relative, for numbers.
        same_dtype: whether tensors must have the same dtype as well.

    Example:
        >>> same([1.0, 2.0], (1.0, 2.0000001), 1e-6)
        True
    """
    if isinstance(want, Rule):
        return bool(want.test(got))
    if is_array(want) and is_array(got):
        wanted, found = tensor_of(want), tensor_of(got)
        return (not same_dtype or wanted.dtype == found.dtype) and _same_tensors(wanted, found, tolerance)
    if same_dtype and isinstance(want, torch.Tensor):
        return False
    want, got = plain(want), plain(got)
    if isinstance(want, Mapping) and isinstance(got, Mapping):
        return want.keys() == got.keys() and all(same(want[key], got[key], tolerance, same_dtype) for key in want)
    if isinstance(want, list | tuple) and isinstance(got, list | tuple):
        return len(want) == len(got) and all(same(one, other, tolerance, same_dtype)
                                             for one, other in zip(want, got, strict=True))
    if not (is_number(want) and is_number(got)):
        return type(want) is type(got) and bool(want == got)
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    return math.isclose(want, got, rel_tol=tolerance, abs_tol=tolerance)


def shown(value: object) -> str:
    """A result in at most 60 characters; a tensor with its dtype and shape.

    Example:
        >>> shown(torch.ones(2, 2))
        'float32 (2, 2): [[1.0, 1.0], [1.0, 1.0]]'
    """
    try:
        text = " ".join(_text(value).split())
    except Exception:  # the representation is the learner's code, too
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def is_array(value: object) -> bool:
    """Whether it is a tensor, or an array or scalar of numpy that holds numbers."""
    if isinstance(value, torch.Tensor):
        return True
    return isinstance(value, numpy.ndarray | numpy.generic) and value.dtype.kind in "biufc"


def is_number(value: object) -> bool:
    """Whether it is a number of Python's, and not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def tensor_of(value: object) -> torch.Tensor:
    """An array as a tensor on the CPU, without its gradient."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to("cpu")
        return value if value.layout == torch.strided else value.to_dense()
    return torch.from_numpy(numpy.array(value))


def plain(value: object) -> object:
    """A tensor or array as nested lists or a number; anything else as it is."""
    value = value.detach() if isinstance(value, torch.Tensor) else value
    return value.tolist() if isinstance(value, torch.Tensor | numpy.ndarray | numpy.generic) else value


def _same_tensors(want: torch.Tensor, got: torch.Tensor, tolerance: float) -> bool:
    if want.shape != got.shape or (want.dtype == torch.bool) != (got.dtype == torch.bool):
        return False
    if want.is_complex() or got.is_complex():
        return _same_tensors(torch.view_as_real(want.to(torch.complex128)),
                             torch.view_as_real(got.to(torch.complex128)), tolerance)
    wide = torch.float64 if want.is_floating_point() or got.is_floating_point() else torch.int64
    want, got = want.to(wide), got.to(wide)
    alike = (want == got) | ((want != want) & (got != got))
    if tolerance:
        apart = (want - got).abs()
        alike |= (apart <= tolerance * torch.maximum(want.abs(), got.abs()).clamp(min=1)) & apart.isfinite()
    return bool(alike.all())


def _text(value: object) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if type(value) in (list, tuple) and any(is_array(one) for one in value):
        return f"[{', '.join(map(_text, value))}]"
    if not is_array(value):
        return repr(value)
    value = tensor_of(value)
    kind = str(value.dtype).removeprefix("torch.")
    if not value.dim():
        return f"{value.item()!r} ({kind} tensor)"
    values = value if value.numel() <= _SHOWN_VALUES else value.flatten()[:_SHOWN_VALUES]
    return f"{kind} {tuple(value.shape)}: {_rounded(values.tolist())}"


def _rounded(value: object) -> object:
    """Six figures of each number, which is what a reader compares."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") + 0.0 if isinstance(value, float) else value
