"""The explorer of block quantisation: choose a data type and a block size, see values, codes, error and bits.

Knows nothing about how numbers are quantised.
"""

from ftkit.errors import unknown
from ftkit.quant.codebooks import DATA_TYPES
from ftkit.widgets import quant_view
from ftkit.widgets.knob import Knob
from ftkit.widgets.shell import Shell
from ftkit.widgets.still import Still, image, paragraph, status, table

BLOCK_SIZES = (16, 32, 64, 128, 256, 512, 1024, 4096)
LOOK_AT = ("Left, look at the steps: the error of a number is its distance to the stair. Right, look at whether the "
           "values stand where the numbers are; the larger a block, the larger its largest number, and the others move "
           "inwards.")


class QuantExplorer(Shell):
    """A matrix in blocks of codes, to explore.

    Args:
        weight: a tensor; None draws one of 256 x 256 numbers from a normal distribution.
        seed: of the matrix that is drawn.
        data_type: the first one shown.
        block_size: the first one shown.

    Raises:
        Refusal: as `quant.blocks.quantise` does.

    Taught in: 07_quantization_from_scratch
    """

    def __init__(self, weight=None, seed: int = 0, data_type: str = "nf4", block_size: int = 64):
        self._weight = quant_view.drawn_weight(seed) if weight is None else weight.detach().cpu()
        self._choice = {"data_type": data_type, "block_size": block_size, "double": False}
        quant_view.compute(self._weight, **self._choice)  # refuses what cannot be shown

    def static(self) -> Still:
        """The picture and the table of what is chosen."""
        view = self._view()
        return Still(f"{view.text} {LOOK_AT}", [quant_view.table(self._weight, view)], quant_view.picture(view),
                     quant_view.told(view))

    def choose(self, **choice) -> quant_view.QuantView:
        """Turns knobs, as a hand does: data_type="int4", block_size=128, double=True.

        Raises:
            Refusal: an unknown knob, or a value that cannot be.
        """
        for name in choice:
            if name not in self._choice:
                raise unknown("knob", name, self._choice)
        view = quant_view.compute(self._weight, **self._choice | choice)
        self._choice |= choice
        if self._box is not None:
            self._show()
        return view

    def _build(self):
        import ipywidgets as widgets

        self._kinds = widgets.Dropdown(description="Data type", options=DATA_TYPES, value=self._choice["data_type"],
                                       style={"description_width": "8em"}, layout=widgets.Layout(width="17em"))
        self._size = Knob("block_size", sorted({*BLOCK_SIZES, self._choice["block_size"]}),
                          self._choice["block_size"], quant_view.parse_block_size, str,
                          lambda name, value: self.choose(block_size=value), lambda text: self._say_(text, wrong=True))
        self._double = widgets.Checkbox(description="quantise the scales, too", value=self._choice["double"])
        self._kinds.observe(lambda change: self.choose(data_type=change["new"]), "value")
        self._double.observe(lambda change: self.choose(double=change["new"]), "value")
        self._said, self._shown, self._table = (widgets.HTML() for _ in range(3))
        look = widgets.HTML(paragraph(LOOK_AT))
        return widgets.VBox([widgets.HBox([self._kinds, self._size.box, self._double], layout=widgets.Layout(
            flex_flow="row wrap")), self._said, self._shown, look, self._table])

    def _view(self) -> quant_view.QuantView:
        return quant_view.compute(self._weight, **self._choice)

    def _show(self) -> None:
        view = self._view()
        self._kinds.value, self._double.value = view.data_type, view.double
        self._size.set_(view.block_size)
        self._shown.value = image(quant_view.picture(view), quant_view.told(view))
        self._table.value = table(*quant_view.table(self._weight, view))
        self._say_(view.text)

    def _say_(self, text: str, wrong: bool = False) -> None:
        self._said.value = status(text, wrong)

