"""What can be said about a wrong result without knowing the exercise: kinds, shapes, signs, factors, places.

It is said where a lesson's own hints do not fit. Knows nothing about any one exercise.
"""

from collections.abc import Mapping

import torch

from ftkit.course.cases import Rule
from ftkit.course.results import is_array, is_number, plain, same, tensor_of

NOTHING = "Your function returns nothing: is there a `return`?"
_PLAIN_FACTORS = (2, 3, 4, 5, 8, 10, 16, 100, 1000)  # of a single number; any two numbers have some factor
_NEARLY = 0.02


def diagnosis(want: object, got: object, tolerance: float = 0.0, same_dtype: bool = False) -> str:
    """One short sentence about a wrong result, or nothing.

    Args:
        want: the right result, or a Rule.
        got: the wrong one.
        tolerance: the one within which it is not right.
        same_dtype: whether the dtype was to be the same.

    Example:
        >>> diagnosis(torch.ones(2, 3), torch.ones(3, 2))
        'Right but transposed: shape (2, 3) is wanted, this is (3, 2).'
    """
    if got is None:
        return NOTHING
    if isinstance(want, Rule):
        return ""
    try:
        return next(filter(None, (rule(want, got, tolerance) for rule in _RULES)), "") or _dtype(want, got, same_dtype)
    except Exception:  # a result that can't be looked at in this way has nothing said about it
        return ""


def _kinds(want, got, tolerance):
    if _kind(want) == _kind(got) or {_kind(want), _kind(got)} == {"a tensor", "a list"}:
        return ""
    if callable(got):
        return f"{_first_up(_kind(want))} is wanted, this is a function: is a pair of brackets missing?"
    if is_array(got) and not tensor_of(got).dim() and is_number(want) and tensor_of(got).dtype != torch.bool:
        return ""
    if is_array(want) and not tensor_of(want).dim() and is_number(got):
        return ""
    return f"{_first_up(_kind(want))} is wanted, this is {_kind(got)}{_shape_words(got)}."


def _kind(value) -> str:
    if is_array(value):
        return "a tensor"
    if isinstance(value, bool):
        return "True or False"
    names = ((int | float, "a number"), (str, "text"), (Mapping, "a dictionary"), (list | tuple, "a list"))
    return next((words for kind, words in names if isinstance(value, kind)), f"a {type(value).__name__}")


def _first_up(words: str) -> str:
    return words[0].upper() + words[1:]


def _shape_words(value) -> str:
    return f" of shape {tuple(value.shape)}" if is_array(value) else ""


def _mappings(want, got, tolerance):
    if not (isinstance(want, Mapping) and isinstance(got, Mapping)):
        return ""
    if missing := [key for key in want if key not in got]:
        return f"The key {missing[0]!r} is missing."
    if extra := [key for key in got if key not in want]:
        return f"The key {extra[0]!r} does not belong there."
    key = next((key for key in want if not same(want[key], got[key], tolerance)), None)
    return "" if key is None else f"At {key!r}: {diagnosis(want[key], got[key], tolerance) or 'another value.'}"


def _texts(want, got, tolerance):
    if not (isinstance(want, str) and isinstance(got, str)):
        return ""
    alike = "".join(want.split()).lower() == "".join(got.split()).lower()
    return "Only capital letters or spaces differ." if alike else ""


def _numbers(want, got, tolerance):
    want, got = _as_numbers(want), _as_numbers(got)
    if want is None or got is None or same(want, got, tolerance):
        return ""
    if want.shape != got.shape:
        return _shapes(want, got, tolerance)
    for rule in (_not_numbers, _sign, _factor, _offset, _order, _nearly, _places):
        if words := rule(want, got, tolerance):
            return words
    return ""


def _as_numbers(value) -> torch.Tensor | None:
    """Numbers in whatever rectangular form as float64; None for anything else."""
    if is_array(value):
        return tensor_of(value).to(torch.float64)
    try:
        found = torch.tensor([plain(one) for one in value] if isinstance(value, list | tuple) else value)
        return None if found.dtype == torch.bool else found.to(torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _shapes(want, got, tolerance):
    shapes = f"shape {tuple(want.shape)} is wanted, this is {tuple(got.shape)}."
    if want.dim() >= 2 and want.dim() == got.dim() and same(want, got.transpose(-1, -2), tolerance):
        return f"Right but transposed: {shapes}"
    if want.numel() == got.numel() and same(want.flatten(), got.flatten(), tolerance):
        return f"The right numbers in another shape: {shapes}"
    if want.dim() == got.dim() == 1:
        return f"{len(want)} values are wanted, these are {len(got)}."
    return f"S{shapes[1:]}"


def _not_numbers(want, got, tolerance):
    if got.isnan().any() and not want.isnan().any():
        return "NaN came out: is something divided by 0, or a logarithm of 0 taken?"
    return "Infinity came out: is something divided by 0?" if got.isinf().any() and not want.isinf().any() else ""


def _sign(want, got, tolerance):
    return "Right but for the sign: it is turned round." if same(want, -got, tolerance) else ""


def _factor(want, got, tolerance):
    used = want != 0
    if not used.any() or not same(torch.zeros_like(got[~used]), got[~used], tolerance):
        return ""
    factor = float((got[used] / want[used]).median())
    if factor == 0 or f"{factor:.3g}" == "1" or not same(want * factor, got, max(tolerance, 1e-9)):
        return ""
    known = any(same(one, factor, 1e-6) or same(1 / one, factor, 1e-6) for one in map(abs, _PLAIN_FACTORS))
    counts = bool((want == want.round()).all() and (got == got.round()).all())
    if used.sum() == 1 and (not known or counts):  # of whole numbers one is twice another by chance
        return ""
    return f"Off by a constant factor: {factor:.3g} times what is wanted."


def _offset(want, got, tolerance):
    offset = float((got - want).flatten()[0])
    alike = want.numel() > 1 and same(want + offset, got, max(tolerance, 1e-9))
    return f"Every value is off by the same {offset:+.3g}." if alike else ""


def _order(want, got, tolerance):
    if want.dim() == 2 and want.shape[0] == want.shape[1] and same(want, got.T, tolerance):
        return "Right but transposed: rows and columns are swapped."
    alike = want.numel() > 1 and same(want.flatten().sort()[0], got.flatten().sort()[0], tolerance)
    return "The right numbers in another order." if alike else ""


def _nearly(want, got, tolerance):
    apart = float((want - got).norm() / want.norm()) if want.norm() > 0 else 1.0
    return f"Close, but off by {apart:.1g} of its size, which is more than rounding." if apart < _NEARLY else ""


def _places(want, got, tolerance):
    if want.numel() < 2:
        return ""
    wrong = [not same(one, other, tolerance) for one, other in zip(want.flatten(), got.flatten(), strict=True)]
    return f"{sum(wrong)} of {len(wrong)} values differ, the first at place {wrong.index(True)} (from 0)."


def _lists(want, got, tolerance):
    if not (isinstance(want, list | tuple) and isinstance(got, list | tuple)):
        return ""
    if len(want) != len(got):
        return f"{len(want)} items are wanted, these are {len(got)}."
    wrong = [place for place, (one, other) in enumerate(zip(want, got, strict=True)) if not same(one, other, tolerance)]
    if wrong and _is_permutation(want, got, tolerance):
        return "The right items in another order."
    return f"At place {wrong[0]} (from 0): {diagnosis(want[wrong[0]], got[wrong[0]], tolerance) or 'another value.'}" \
        if wrong else ""


def _is_permutation(want, got, tolerance) -> bool:
    left = list(got)
    for one in want:
        place = next((at for at, other in enumerate(left) if same(one, other, tolerance)), None)
        if place is None:
            return False
        del left[place]
    return True


def _dtype(want, got, same_dtype):
    if not same_dtype or not is_array(want):
        return ""
    if not is_array(got):
        return f"A tensor is wanted, this is {_kind(got)}."
    return f"The right values as {_dtype_name(got)}: {_dtype_name(want)} is wanted."


def _dtype_name(value) -> str:
    return str(tensor_of(value).dtype).removeprefix("torch.")


_RULES = (_kinds, _mappings, _texts, _numbers, _lists)
