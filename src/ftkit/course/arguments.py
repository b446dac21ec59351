"""Functions watched while they are called: what they return, and whether they change what they are given.

Knows nothing about exercises.
"""

import functools
import inspect
from collections.abc import Callable, Mapping

import torch

from ftkit.course.results import is_array, same, tensor_of


class ArgumentChanged(Exception):
    """A function has changed what it was given."""


def watched(answer: object, name: str, returned: list) -> object:
    """A function that does what the answer does, and stops where it has changed data that it was given.

    What was changed is put back, so that the next call finds it as it was. Classes, models, and functions whose name
    ends in `_`, which change their arguments on purpose, are left as they are.

    Args:
        answer: a function, or anything else.
        name: of the answer, for the message.
        returned: what each call returns is added to it.

    Raises:
        ArgumentChanged: from the function that comes back, when it is called.

    Example:
        >>> watched(lambda numbers: numbers.pop(), "last", [])([1, 2])
        Traceback (most recent call last):
        ftkit.course.arguments.ArgumentChanged: last changes its argument numbers
    """
    if not callable(answer) or isinstance(answer, type | torch.nn.Module) or name.endswith("_"):
        return answer

    @functools.wraps(answer)
    def call(*given, **named):
        now = [*given, *named.values()]
        before = [_copied(one) for one in now]
        try:
            returned.append(answer(*given, **named))
        finally:
            changed = [place for place in range(len(now)) if not _unchanged(before[place], now[place])]
            for place in changed:
                _restore_(now[place], before[place])
        if changed:
            raise ArgumentChanged(f"{name} changes its argument {_argument(answer, changed[0], given, named)}")
        return returned[-1]

    return call


def _argument(answer: Callable, place: int, given: tuple, named: Mapping) -> str:
    if place >= len(given):
        return list(named)[place - len(given)]
    try:
        return list(inspect.signature(answer).parameters)[place]
    except (TypeError, ValueError, IndexError):
        return f"number {place + 1}"


def _copied(value: object) -> object:
    """Data that can be changed, copied; anything else as it is."""
    if is_array(value):
        return tensor_of(value).clone()
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list | tuple) else value


def _unchanged(was: object, now: object) -> bool:
    if is_array(now):
        return is_array(was) and same(was, now, same_dtype=True)
    if isinstance(now, Mapping):
        return list(was) == list(now) and all(_unchanged(was[key], now[key]) for key in now)
    if isinstance(now, list | tuple):
        return isinstance(was, list) and len(was) == len(now) and all(map(_unchanged, was, now))
    return was is now


def _restore_(now: object, was: object):
    if isinstance(now, torch.Tensor):
        now.data.copy_(was) if now.shape == was.shape else setattr(now, "data", was)
    elif is_array(now) and getattr(now, "flags", None) is not None and now.flags.writeable:
        now[...] = was.numpy()
    elif isinstance(now, dict):
        now.clear()
        now.update(was)
    elif isinstance(now, list):
        now[:] = was
    elif isinstance(now, tuple):
        for one, other in zip(now, was, strict=True):
            _restore_(one, other)
