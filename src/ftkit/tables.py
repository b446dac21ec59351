"""Rows to aligned text, Chinese included. Knows nothing about what the cells mean."""

import unicodedata
from collections.abc import Sequence

_GAP = "  "


def aligned(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The rows under their headers as text in columns, each as wide as its widest cell.

    A wide character counts as two columns, as terminals and notebooks show it.

    Args:
        headers: one word or two a column.
        rows: as many cells a row as there are headers; None is shown as nothing.

    Example:
        >>> print(aligned(["case", "want"], [["two and three", 5], ["发烧", 6]]))
        case           want
        two and three  5
        发烧           6
    """
    table = [[str(cell) for cell in headers], *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    lines = [[cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)] for row in table]
    return "\n".join(_GAP.join(line).rstrip() for line in lines)


def width(text: str) -> int:
    """Columns that the text takes in a terminal.

    Example:
        >>> width("发烧!")
        5
    """
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
