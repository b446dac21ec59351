"""What a widget leaves where nobody can click: a picture and tables, as HTML or text. Knows nothing about widgets."""

import html
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from ftkit.tables import aligned

_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0;line-height:1.4"
_PICTURE = "width:100%;max-width:900px;min-width:560px;height:auto"  # a narrow page is scrolled: letters stay legible
_TEXT = "line-height:1.4;max-width:60em;overflow-wrap:anywhere"


@dataclass(frozen=True, repr=False)
class Still:
    """A text, a picture and tables; all that is text is shown as the text it is, markup and all.

    Args:
        text: above all else.
        tables: pairs of headers and rows.
        png: a picture; none if empty.
        alt: what the picture shows, for those who do not see it.

    Example:
        >>> Still("Two runs.", [(["seed", "loss"], [[0, 1.5], [1, 1.25]])])
        Two runs.
        seed  loss
        0     1.5
        1     1.25
    """

    text: str
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence]]] = ()
    png: bytes = b""
    alt: str = ""

    def __repr__(self):
        return "\n".join([self.text, "\n\n".join(aligned(headers, rows) for headers, rows in self.tables)]).strip()

    def _repr_html_(self):
        picture = image(self.png, self.alt) if self.png else ""
        return paragraph(self.text) + picture + "".join(table(*one) for one in self.tables)


def image(png: bytes, alt: str) -> str:
    """A picture as HTML."""
    data = b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" style="{_PICTURE}">'


def table(headers: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table as HTML, every cell as the text it is; None is shown as nothing."""
    head = "".join(f'<th scope="col" style="{_CELL}">{html.escape(str(name))}</th>' for name in headers)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}"><bdi>{_shown(cell)}</bdi></td>' for cell in row) + "</tr>"
                   for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A text as HTML."""
    return f'<p style="{_TEXT}">{html.escape(text)}</p>'


def status(text: str, wrong: bool = False) -> str:
    """A sentence as HTML that screen readers say when it changes."""
    role = "alert" if wrong else "status"
    return f'<div role="{role}" aria-live="polite" style="{_TEXT}">{html.escape(text)}</div>'


def _shown(cell: object) -> str:
    return "" if cell is None else html.escape(str(cell))
