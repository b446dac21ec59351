"""Which layers of a stack are meant: "all", "first 2", "last 6", places, or a share. Knows nothing about models."""

import math
from collections.abc import Iterable

from ftkit.errors import refusal

ALL_LAYERS = "all"


def places_of(layers: str | Iterable[int], count: int) -> list[int]:
    """Which of a stack's layers are meant.

    Args:
        layers: "all", "first 2", "last 6", or places counted from 0.
        count: how many layers there are.

    Raises:
        Refusal: it is none of these, or asks for layers that are not there.

    Example:
        >>> places_of("last 2", 8)
        [6, 7]
    """
    if isinstance(layers, str):
        if layers == ALL_LAYERS:
            return list(range(count))
        side, _, number = layers.partition(" ")
        if side in ("first", "last") and number.isdecimal() and 1 <= int(number) <= count:
            return list(range(count))[:int(number)] if side == "first" else list(range(count))[-int(number):]
    elif isinstance(layers, Iterable):
        places = tuple(layers)
        if places and all(type(place) is int and 0 <= place < count for place in places):
            return sorted(set(places))
    raise refusal("layers", f"'all', 'first K' or 'last K' with K from 1 to {count}, or places from 0 to {count - 1}",
                  layers)


def frozen_count(freeze_ratio: float, layers: int) -> int:
    """How many of so many layers a share is: the nearest whole number, the larger of two that are as near.

    Example:
        >>> frozen_count(0.5, 5)
        3
    """
    return math.floor(freeze_ratio * layers + 0.5)
