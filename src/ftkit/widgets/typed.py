"""Numbers that somebody typed. Knows nothing about what they mean."""

import math

from ftkit.errors import refusal
from ftkit.units import words_to_count


def number(name: str, text: str, whole: bool) -> float:
    """The number that a text is.

    Raises:
        Refusal: it is none, or not a whole one.

    Example:
        >>> number("rank", " 16 ", whole=True)
        16
    """
    try:
        return int(text) if whole else float(text)
    except ValueError as error:
        raise refusal(name, "a whole number" if whole else "a number", text) from error


def whole(name: str, text: str, least: int = 1) -> int:
    """A whole number, so large or larger.

    Raises:
        Refusal: it is none, or smaller.
    """
    value = number(name, text, whole=True)
    if value < least:
        raise refusal(name, f"a whole number, {least} or more", text)
    return value


def amount(name: str, text: str) -> float:
    """A number, 0 or more.

    Raises:
        Refusal: it is none, infinite, or below 0.
    """
    value = number(name, text, whole=False)
    if not (math.isfinite(value) and value >= 0):
        raise refusal(name, "a number, 0 or more", text)
    return value


def count(name: str, text: str) -> int:
    """A count, 1 or more, in figures or in words.

    Raises:
        Refusal: it is none, or below 1.

    Example:
        >>> count("tokens", "1.5 M")
        1500000
    """
    try:
        value = words_to_count(text)
    except ValueError as error:
        raise refusal(name, "a count such as 250000, '250 k' or '1.5 M'", text) from error
    if value < 1:
        raise refusal(name, "1 or more", text)
    return value
