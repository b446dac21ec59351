"""The table of methods: sort it, choose two columns to plot, tick what matters and see which rows are left.

Knows nothing about how methods were measured.
"""

import html
from collections.abc import Iterable, Mapping

from ftkit.errors import unknown
from ftkit.widgets.comparison import NAME, Column, Comparison, cells, columns_of, compute, picture, rows_of, told
from ftkit.widgets.shell import Shell
from ftkit.widgets.still import Still, image, status

_STYLE = """<style>
.ftkit-head button {white-space: normal; height: auto; min-height: 3.4em; line-height: 1.2; padding: 2px;
                    text-align: left; font-weight: bold}
.ftkit-rows table {table-layout: fixed; width: 100%; border-collapse: collapse}
.ftkit-head, .ftkit-rows {min-width: 40em}
.ftkit-rows td {padding: 3px 4px; line-height: 1.4; text-align: left; vertical-align: top; overflow-wrap: anywhere}
.ftkit-rows tr.front {font-weight: bold}
.ftkit-rows thead {position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)}
</style>"""
_FIRST = 2  # the first column is so many times as wide as any other


class MethodTable(Shell):
    """Methods side by side, to sort, to plot and to choose from.

    Args:
        rows: names mapped to the cards of their seeds; a list of cards, put together by method and settings; or
            mappings with a `name` and numbers, or estimates with value, low and high.
        columns: keys mapped to `Column`s, in order; None takes those known that some row has.

    Raises:
        Refusal: no rows, two of one name, or a column that no row has.

    Example:
        >>> MethodTable([{"name": "full", "clinic": 0.9, "saved_mb": 18}, {"name": "lora", "clinic": 0.9,
        ...              "saved_mb": 1}]).choose(matters=("clinic", "saved_mb")).front
        ('lora',)

    Taught in: 06_methods_compared
    """

    def __init__(self, rows: Mapping | Iterable, columns: Mapping[str, Column] | None = None):
        self._rows = rows_of(rows)
        self._columns = columns_of(self._rows, columns)
        keys = list(self._columns)
        self._axes = {"across": keys[0], "upwards": keys[-1]}
        self._choice = {"matters": (), "sorted_by": NAME, "descending": False}

    def static(self) -> Still:
        """The picture and the table of what is chosen."""
        comparison = self._compared()
        return Still(comparison.text, [(["method", *(one.words for one in self._columns.values())],
                                        cells(comparison, self._columns))],
                     picture(comparison, self._columns, **self._axes), told(comparison, self._columns, **self._axes))

    def choose(self, **choice) -> Comparison:
        """Chooses, as a hand does: matters=("clinic", "saved_mb"), sorted_by="clinic", descending=True,
        across="saved_mb", upwards="clinic".

        Raises:
            Refusal: an unknown column, or an unknown choice.
        """
        axes = {name: choice.pop(name) for name in ("across", "upwards") if name in choice}
        for name in choice:
            if name not in self._choice:
                raise unknown("choice", name, (*self._choice, *self._axes))
        for key in axes.values():
            if key not in self._columns:
                raise unknown("column", key, self._columns)
        comparison = compute(self._rows, self._columns, **self._choice | choice)
        self._choice, self._axes = self._choice | choice, self._axes | axes
        if self._box is not None:
            self._show()
        return comparison

    def _compared(self) -> Comparison:
        return compute(self._rows, self._columns, **self._choice)

    def _build(self):
        import ipywidgets as widgets

        wrap = widgets.Layout(flex_flow="row wrap")
        self._heads = {key: widgets.Button(layout=widgets.Layout(width="auto")) for key in (NAME, *self._columns)}
        for key, head in self._heads.items():
            head.on_click(lambda _, key=key: self._sort(key))
        tracks = f"{_FIRST}fr repeat({len(self._columns)}, 1fr)"
        heads = widgets.GridBox(list(self._heads.values()), layout=widgets.Layout(grid_template_columns=tracks,
                                                                                  width="100%"))
        heads.add_class("ftkit-head")
        self._table, self._said, self._shown = (widgets.HTML(layout=widgets.Layout(width="100%")) for _ in range(3))
        self._table.add_class("ftkit-rows")
        ticks = [widgets.Checkbox(description=f"{column.better} {column.words}", indent=False,
                                  layout=widgets.Layout(width="auto", margin="0 1em 0 0"))
                 for column in self._columns.values() if column.better]
        keys = [key for key, column in self._columns.items() if column.better]
        for tick in ticks:
            tick.observe(lambda _: self.choose(matters=tuple(
                key for key, one in zip(keys, ticks, strict=True) if one.value)), "value")
        options = [(column.words, key) for key, column in self._columns.items()]
        drops = [widgets.Dropdown(description=name, options=options, value=self._axes[key])
                 for name, key in (("Across", "across"), ("Upwards", "upwards"))]
        for drop, key in zip(drops, self._axes, strict=True):
            drop.observe(lambda change, key=key: self.choose(**{key: change["new"]}), "value")
        return widgets.VBox([widgets.HTML(_STYLE), heads, self._table, widgets.HTML("What matters:"),
                             widgets.HBox(ticks, layout=wrap), self._said, widgets.HBox(drops, layout=wrap),
                             self._shown])

    def _sort(self, key: str) -> None:
        same = self._choice["sorted_by"] == key
        first = key != NAME and self._columns[key].better == "more"  # the best above, at first
        self.choose(sorted_by=key, descending=not self._choice["descending"] if same else first)

    def _show(self) -> None:
        comparison = self._compared()
        for key, head in self._heads.items():
            words = "method" if key == NAME else self._columns[key].words
            mark = ("" if key != comparison.sorted_by else " ▼" if comparison.descending else " ▲")
            head.description, head.tooltip = words + mark, f"Sort by {words}; again for the other direction"
        self._table.value = self._html(comparison)
        self._said.value = status(comparison.text)
        self._shown.value = image(picture(comparison, self._columns, **self._axes),
                                  told(comparison, self._columns, **self._axes))

    def _html(self, comparison: Comparison) -> str:
        """The rows under the buttons that are their headers; those who hear the page are given headers of its own."""
        share = 100 / (_FIRST + len(self._columns))
        widths = f'<col style="width:{_FIRST * share}%">' + f'<col style="width:{share}%">' * len(self._columns)
        words = {NAME: "method", **{key: column.words for key, column in self._columns.items()}}
        direction = "descending" if comparison.descending else "ascending"
        head = "".join(f'<th scope="col" aria-sort="{direction if key == comparison.sorted_by else "none"}">'
                       f"{html.escape(text)}</th>" for key, text in words.items())
        body = "".join(f'<tr class="{"front" if row.name in comparison.front and self._choice["matters"] else ""}">'
                       + "".join(f"<td><bdi>{html.escape(cell)}</bdi></td>" for cell in own) + "</tr>"
                       for row, own in zip(comparison.rows, cells(comparison, self._columns), strict=True))
        return f"<table><colgroup>{widths}</colgroup><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
