"""Bytes, counts and seconds to words and back. Knows nothing about where the numbers come from."""

import math
import re

from ftkit.errors import refusal

KIB, MIB, GIB = 2**10, 2**20, 2**30
_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
               "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 2**40}
_COUNT_UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}
_SECOND_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def bytes_to_words(size_bytes: float) -> str:
    """A size in binary units, three figures.

    Example:
        >>> bytes_to_words(12_582_912)
        '12.0 MiB'
    """
    return _scaled(size_bytes, [("TiB", 2**40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)], "B")


def words_to_bytes(text: str) -> int:
    """Bytes from words such as "24 GiB" or "500 MB".

    Raises:
        Refusal: the text is no number with a known unit.

    Example:
        >>> words_to_bytes("1.5 KiB")
        1536
    """
    return round(_parse(text, "size", _BYTE_UNITS))


def count_to_words(count: float) -> str:
    """A count with k, M or B, three figures.

    Example:
        >>> count_to_words(4_330_000)
        '4.33 M'
    """
    return _scaled(count, [("B", 10**9), ("M", 10**6), ("k", 10**3)], "")


def words_to_count(text: str) -> int:
    """A count from words such as "7.6 B" or "12k".

    Raises:
        Refusal: the text is no number with a known unit.

    Example:
        >>> words_to_count("7.6 B")
        7600000000
    """
    return round(_parse(text, "count", _COUNT_UNITS))


def seconds_to_words(elapsed_s: float) -> str:
    """A duration in the largest unit that fits, three figures.

    Example:
        >>> seconds_to_words(90)
        '1.50 min'
    """
    return _scaled(elapsed_s, [("d", 86400), ("h", 3600), ("min", 60)], "s")


def counted(count: int, noun: str) -> str:
    """A number of things, the plural where there is not one.

    Example:
        >>> counted(1, "seed"), counted(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def words_to_seconds(text: str) -> float:
    """Seconds from words such as "1.5 min" or "20 s".

    Raises:
        Refusal: the text is no number with a known unit.

    Example:
        >>> words_to_seconds("1.5 min")
        90.0
    """
    return _parse(text, "duration", _SECOND_UNITS)


def _scaled(value: float, units: list[tuple[str, int]], smallest: str) -> str:
    if not math.isfinite(value):
        return f"{value} {smallest}".strip()
    for name, size in units:
        if abs(_rounded(value / size)) >= 1:
            return f"{_three_figures(value / size)} {name}"
    return f"{_three_figures(value)} {smallest}".strip()


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _three_figures(value: float) -> str:
    """Three figures, rounded before they are counted: 9.999 is 10.0."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    value = _rounded(value)
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def _parse(text: str, name: str, units: dict[str, int]) -> float:
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not match or match[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise refusal(name, f"a number and one of {known}", text, "Write for example "
                      f"'1.5 {[unit for unit in units if unit][-1]}'.")
    return float(match[1]) * units[match[2]]
