"""The planner of memory: choose model, method, batch and card, and see what is needed, what fits, and what it costs.

Knows nothing about how bytes are predicted.
"""

from ftkit.errors import Refusal, unknown
from ftkit.memory.cost import CURRENCIES
from ftkit.memory.gpus import gpu_named, known_gpus
from ftkit.memory.models import known_models
from ftkit.memory.setup import ATTENTIONS, METHODS
from ftkit.units import count_to_words
from ftkit.widgets import memory_view, typed
from ftkit.widgets.knob import Knob
from ftkit.widgets.shell import Shell
from ftkit.widgets.still import Still, image, paragraph, status, table

LOOK_AT = ("Look at which part is the widest, and at whether the bar ends before the dashed line, which is the card. "
           "Where it does not, each bar below is one step of the playbook more.")
_RANKS, _BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 4, 8, 16, 32, 64)
_LENGTHS, _TOKENS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384), (10**5, 10**6, 10**7, 10**8, 10**9)
_SPEEDS, _PRICES = (0.0, 300.0, 1000.0, 3000.0, 10_000.0), (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)


class MemoryPlanner(Shell):
    """A training on a card, to plan.

    Args:
        choice: what is shown first, as `memory_view.compute` takes it: model="qwen2.5-7b", method="qlora", gpu="24".

    Raises:
        Refusal: an unknown choice, or one that cannot be.

    Example:
        >>> MemoryPlanner(method="qlora").choose(gpu="T4").verdict.gpu.name
        'T4'

    Taught in: 09_memory_and_cost
    """

    def __init__(self, **choice):
        self._choice = dict(_FIRST)
        self._view, self._quiet = memory_view.compute(**self._with(choice)), False
        self._choice |= choice

    def static(self) -> Still:
        """The picture and the tables of what is chosen."""
        view = self._view
        return Still(f"{view.text} {LOOK_AT}", memory_view.tables(view), memory_view.picture(view),
                     memory_view.told(view))

    def choose(self, **choice) -> memory_view.PlanView:
        """Turns knobs, as a hand does: model="qwen2.5-7b", batch_size=4, gpu="16".

        Raises:
            Refusal: an unknown knob, or a value that cannot be.
        """
        self._view = memory_view.compute(**self._with(choice))
        self._choice |= choice
        if self._box is not None:
            self._show()
        return self._view

    def _with(self, choice: dict) -> dict:
        for name in choice:
            if name not in self._choice:
                raise unknown("knob", name, self._choice)
        return self._choice | choice

    def _build(self):
        import ipywidgets as widgets

        wrap = widgets.Layout(flex_flow="row wrap")
        models = [one.name for one in known_models()]
        closed = {"model": models, "method": list(METHODS), "precision": list(memory_view.PRECISIONS),
                  "attention": list(ATTENTIONS), "currency": list(CURRENCIES)}
        self._drops = {name: widgets.Dropdown(description=name, options=options, value=self._choice[name],
                                              style={"description_width": "8em"}, layout=widgets.Layout(width="25em"))
                       for name, options in closed.items()}
        self._tick = widgets.Checkbox(description="checkpointing", value=self._choice["checkpointing"])
        for name, control in (*self._drops.items(), ("checkpointing", self._tick)):
            control.observe(lambda change, name=name: self._turned(name, change["new"]), "value")
        cards = [one.name for one in known_gpus()]
        self._knobs = {name: self._knob(name, *how) for name, how in {
            "rank": (_RANKS, typed.whole, str), "batch_size": (_BATCHES, typed.whole, str),
            "seq_len": (_LENGTHS, typed.whole, str), "gpu": (cards, _card, str),
            "tokens": (_TOKENS, typed.count, count_to_words), "tokens_per_s": (_SPEEDS, typed.amount, "{:g}".format),
            "price_per_h": (_PRICES, typed.amount, "{:g}".format)}.items()}
        self._said, self._shown, self._table = (widgets.HTML() for _ in range(3))
        return widgets.VBox([
            widgets.HBox([*self._drops.values(), self._tick], layout=wrap),
            widgets.HBox([knob.box for knob in self._knobs.values()], layout=wrap), self._said, self._shown,
            widgets.HTML(paragraph(LOOK_AT)), self._table])

    def _knob(self, name: str, values, parse, written) -> Knob:
        own = self._choice[name]
        values = [*values, *([] if own in values else [own])]
        if name != "gpu":
            values.sort()
        return Knob(name, values, own, lambda text: parse(name, text), written, self._turned,
                    lambda text: self._say_(text, wrong=True))

    def _turned(self, name: str, value: object) -> None:
        if self._quiet:
            return
        try:
            self.choose(**{name: value})
        except Refusal as error:  # two values that exclude each other: the one that was turned goes back
            self._show()
            self._say_(str(error), wrong=True)

    def _show(self) -> None:
        view, self._quiet = self._view, True
        try:
            for name, drop in self._drops.items():
                drop.value = self._choice[name]
            self._tick.value = self._choice["checkpointing"]
            for name, knob in self._knobs.items():
                knob.set_(self._choice[name])
        finally:
            self._quiet = False
        self._shown.value = image(memory_view.picture(view), memory_view.told(view))
        self._table.value = "".join(table(*one) for one in memory_view.tables(view))
        self._say_(view.text)

    def _say_(self, text: str, wrong: bool = False) -> None:
        self._said.value = status(text, wrong)


_FIRST = {"model": "llama-2-7b", "method": "lora", "rank": 8, "batch_size": 1, "seq_len": 512,
          "precision": "bfloat16", "checkpointing": False, "attention": "flash", "gpu": "RTX-3090", "tokens": 10**6,
          "tokens_per_s": 0.0, "price_per_h": 0.0, "currency": "CNY"}


def _card(name: str, text: str) -> str:
    return gpu_named(text.strip()).name
