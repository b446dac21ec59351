"""A value that can be typed as well as slid. Knows nothing about what the value does."""

from collections.abc import Callable, Sequence

from ftkit.errors import Refusal


class Knob:
    """A text box under the value's name, and beside it a slider over known values; both show the same value.

    A typed value that is not among the known ones becomes one of them.

    Args:
        name: shown, and said by screen readers.
        values: known ones, in order.
        value: the first one.
        parse: a text to a value; raises `Refusal` with a sentence.
        written: a value to the text that is typed for it.
        turned: called with the name and the new value.
        refused: called with the sentence.
    """

    def __init__(self, name: str, values: Sequence, value: object, parse: Callable, written: Callable,
                 turned: Callable, refused: Callable):
        import ipywidgets as widgets

        self._name, self._values, self._value, self._quiet = name, list(values), value, False
        self._parse, self._written, self._turned, self._refused = parse, written, turned, refused
        self._typed = widgets.Text(value=written(value), description=name, continuous_update=False,
                                   tooltip=f"{name}: type a value and press Enter",
                                   style={"description_width": "8em"}, layout=widgets.Layout(width="17em"))
        self._slid = widgets.SelectionSlider(options=self._options(), value=value, readout=False,
                                             layout=widgets.Layout(width="14em", min_width="8em"))
        self._slid.tooltip = f"{name}: slide, or press the arrow keys"
        self._slid.layout.display = self._display()
        self._typed.observe(self._on_typed, "value")
        self._slid.observe(self._on_slid, "value")
        self.box = widgets.HBox([self._typed, self._slid], layout=widgets.Layout(overflow="visible"))

    @property
    def value(self) -> object:
        """What is chosen."""
        return self._value

    def set_(self, value: object) -> None:
        """Shows a value, without a call to `turned`."""
        self._value, self._quiet = value, True
        try:
            if value not in self._values:
                self._values.append(value)
                if all(isinstance(one, int | float) for one in self._values):
                    self._values.sort()
                self._slid.options, self._slid.layout.display = self._options(), self._display()
            self._slid.value, self._typed.value = value, self._written(value)
        finally:
            self._quiet = False

    def _on_typed(self, change: dict) -> None:
        if self._quiet:
            return
        try:
            value = self._parse(change["new"])
        except Refusal as error:
            self._refused(str(error))
            return
        self._turn_to(value)

    def _on_slid(self, change: dict) -> None:
        if not self._quiet:
            self._turn_to(change["new"])

    def _turn_to(self, value: object) -> None:
        self.set_(value)
        self._turned(self._name, value)

    def _options(self) -> list[tuple[str, object]]:
        return [(self._written(value), value) for value in self._values]

    def _display(self) -> str:
        return "flex" if len(self._values) > 1 else "none"  # nothing to slide over
