"""A small table for a notebook: HTML where that can be shown, aligned text elsewhere. Knows nothing about its cells."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ftkit.errors import refusal
from ftkit.tables import aligned, width

WIDEST = 118  # columns of text from which each row is written below the other as a block of lines
_CELL = "text-align:left;vertical-align:top;padding:4px 12px 4px 4px"
_TEXT = f"{_CELL};white-space:pre-line;overflow-wrap:break-word"


@dataclass(frozen=True)
class Table:
    """Rows under headers; every cell is shown as the text it is, markup and all.

    Args:
        headers: one for each column.
        rows: as many cells a row as there are headers; None is shown as nothing, a line break stays one in HTML.

    Raises:
        Refusal: a row has more or fewer cells than there are headers.

    Example:
        >>> Table(["scale", "base"], [["tiny", "ftkit-tiny"]])
        scale  base
        tiny   ftkit-tiny
    """

    headers: Sequence[str]
    rows: Iterable[Sequence[object]]

    def __post_init__(self):
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))  # it is shown in two forms
        for place, row in enumerate(self.rows):
            if len(row) != len(self.headers):
                raise refusal(f"row {place}", f"of {len(self.headers)} cells, as many as headers", len(row))

    def __repr__(self):
        rows = [[" / ".join(_shown(cell).split("\n")) for cell in row] for row in self.rows]
        text = aligned(self.headers, rows)
        if max(map(width, text.split("\n"))) <= WIDEST:
            return text
        blocks = [aligned(["", ""], zip(self.headers, row, strict=True)).lstrip("\n") for row in rows]
        return "\n\n".join(blocks)

    def _repr_html_(self):
        head = "".join(f'<th style="{_CELL}">{html.escape(str(header))}</th>' for header in self.headers)
        lines = ("".join(f'<td style="{_TEXT}">{html.escape(_shown(cell))}</td>' for cell in row) for row in self.rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(cell: object) -> str:
    return "" if cell is None else str(cell)
