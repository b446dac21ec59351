"""The explorer of a sweep: choose rank, alpha, dropout and so on, see what was measured, and train what was not.

Knows nothing about how trials were measured or shipped.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from ftkit.cards import Card
from ftkit.errors import unknown
from ftkit.widgets import grid_picture, point
from ftkit.widgets.grid import SEED, View, asked_for, compute, grid_of, knobs_of, with_card, words
from ftkit.widgets.knob import Knob
from ftkit.widgets.live_trial import ENDED, LiveTrial
from ftkit.widgets.measures import COSTS, MEASURES, SCORES, metric
from ftkit.widgets.shell import Shell
from ftkit.widgets.still import Still, image, paragraph, status, table

_EVERY_S = 0.4  # between two pictures while training


class SweepExplorer(Shell):
    """A grid of measured LoRA trials to explore: curves, score against cost, a table, and **Train this point**.

    The grid is a star around a default, so most combinations were never run. What is shown is always measured: where
    the choice was not, its nearest measured neighbour, and a sentence that says so. As long as it is shown to a person,
    a process of its own stands ready to train.

    Args:
        cards: of trials, as `recorded.shipped` gives them; those of other methods are left out.
        default: knobs that single the default out; None finds the setting in the middle of the star.
        command: stem of the lesson whose `ftkit run` command is shown.

    Raises:
        Refusal: no card of a LoRA trial, or a default that is not among them.

    Taught in: 05_rank_alpha_dropout
    """

    def __init__(self, cards: Iterable[Card], default: Mapping | None = None, command: str = "05_rank_alpha_dropout"):
        self._turn = threading.RLock()  # presses come from the front end's thread, steps from the training's
        self._grid, self._stem = grid_of(cards, default), command
        self._chosen = {**self._grid.default.knobs, SEED: self._grid.default.seeds[0]}
        self._moved, self._cost, self._score = "", COSTS[0], SCORES[0]
        self._picture, self._trained = None, []
        self._live, self._records, self._training, self._drawn_s = LiveTrial(self._hear), [], {}, 0.0

    @property
    def cards(self) -> list[Card]:
        """All runs of the grid, those that were made here included."""
        return [card for setting in self._grid.settings for card in setting.cards]

    def static(self) -> Still:
        """The picture and the table of what is chosen."""
        with self._turn:
            view = self._view()
            return Still(f"{view.text} {grid_picture.caption(self._grid)}", [view.table], self._png(view),
                         grid_picture.told(view, self._cost, self._score))

    def choose(self, **knobs) -> View:
        """Turns knobs, as a hand does: rank=4, seed=1.

        Raises:
            Refusal: an unknown knob, or a value out of range.
        """
        with self._turn:
            for name, value in knobs.items():
                if name not in self._chosen:
                    raise unknown("knob", name, self._chosen)
                self._turned(name, point.parse(name, words(value), self._chosen[name]))
                if self._box is not None:
                    self._knobs[name].set_(self._chosen[name])
            return self._view()

    def close(self) -> None:
        """Ends a training, and takes the widgets away; the cards stay."""
        self._live.stop()
        with self._turn:
            super().close()
            self._picture, self._records = None, []

    def _build(self):
        import ipywidgets as widgets

        grid, row = self._grid, widgets.Layout(flex_flow="row wrap")
        measured = {**grid.knobs, SEED: grid.seeds}
        self._knobs = {name: Knob(name, values, self._chosen[name], self._parser(name), words, self._turned,
                                  lambda text: self._say_(text, wrong=True)) for name, values in measured.items()}
        self._said, self._shown, self._look, self._table, self._news = (widgets.HTML() for _ in range(5))
        axes = [widgets.Dropdown(description=name, options=[(MEASURES[one].words, one) for one in known],
                                 value=value, style={"description_width": "4em"})
                for name, known, value in (("Cost", COSTS, self._cost), ("Score", SCORES, self._score))]
        axes[0].observe(lambda change: self._axis("_cost", change["new"]), "value")
        axes[1].observe(lambda change: self._axis("_score", change["new"]), "value")
        self._train, self._stop = (widgets.Button(description=name, tooltip=tip) for name, tip in (
            ("Train this point", "Train the chosen point on the embedded base and add it to the grid"),
            ("Stop", "End the training; nothing is added")))
        self._train.on_click(self._start)
        self._stop.on_click(self._end)
        self._bar = widgets.IntProgress(description="Steps", max=1, layout=widgets.Layout(max_width="100%"))
        wide = widgets.Layout(width="98%", height="auto")
        self._command, self._file = (widgets.Textarea(description=name, rows=rows, layout=wide) for name, rows in (
            ("Command", 2), ("Parameters", 2 + len(self._knobs))))
        self._buttons_(training=False)
        self._live.warm_up()
        return widgets.VBox([
            widgets.HBox([knob.box for knob in self._knobs.values()], layout=row), self._said, self._shown,
            widgets.HBox(axes, layout=row), self._look, self._table,
            widgets.HBox([self._train, self._stop, self._bar], layout=row), self._news, self._command, self._file])

    def _start(self, _button=None) -> None:
        with self._turn:
            trial = point.trial_of(self._chosen, self._grid.default.cards[0])
            if self._live.train(trial):
                self._training, self._records = trial, []
                self._buttons_(training=True)
                self._news_("Training begins. The first time, torch has to be imported: some seconds.")

    def _end(self, _button=None) -> None:
        was_training, steps = self._live.is_training, len(self._records)
        self._live.stop()  # not in a turn: what is listening may be waiting for one
        if was_training:
            with self._turn:
                self._ended_(f"Stopped after step {steps}: nothing was added.")
        self._live.warm_up()

    def _parser(self, name: str):
        return lambda text: point.parse(name, text, self._chosen[name])

    def _turned(self, name: str, value: object) -> None:
        with self._turn:
            self._chosen, self._moved = {**self._chosen, name: value}, name
            self._show()

    def _axis(self, which: str, name: str) -> None:
        with self._turn:
            setattr(self, which, name)
            self._picture = None
            self._show()

    def _view(self) -> View:
        return compute(self._grid, self._chosen, self._moved)

    def _png(self, view: View) -> bytes:
        if self._picture is None:
            highest = max((one["loss"] for one in self._records), default=0.0)
            self._picture = grid_picture.GridPicture(self._grid, self._cost, self._score, self._trained, highest)
        return self._picture.png(view, self._records)

    def _show(self) -> None:
        """Brings all that follows from the choice up to date."""
        if self._box is None:
            return
        view = self._view()
        self._draw_(view)
        self._look.value = paragraph(grid_picture.caption(self._grid))
        self._table.value = table(*view.table)
        asked = asked_for(self._grid, self._chosen)
        self._command.value, self._file.value = point.command(self._stem, asked), point.parameter_file(asked)
        self._say_(view.text)

    def _draw_(self, view: View) -> None:
        self._shown.value = image(self._png(view), grid_picture.told(view, self._cost, self._score))
        self._drawn_s = time.monotonic()

    def _say_(self, text: str, wrong: bool = False) -> None:
        self._said.value = status(text, wrong)

    def _news_(self, text: str, wrong: bool = False) -> None:
        self._news.value = status(text, wrong)

    def _buttons_(self, training: bool) -> None:
        self._train.disabled, self._stop.disabled, self._bar.value = training, not training, 0

    def _hear(self, event: dict) -> None:
        """What the training process says, from a thread of its own."""
        with self._turn:
            if self._box is None:
                return
            if "record" in event:
                self._recorded_(event["record"])
            elif "asking" in event:
                self._news_("Trained. The held-out questions are being asked.")
            elif "done" in event:
                self._done_(event["done"])
            elif event.keys() & {"refused", ENDED}:
                self._ended_(event.get("refused") or event[ENDED], wrong=True)

    def _recorded_(self, record: dict) -> None:
        if not self._records:
            self._picture = None  # drawn anew, with room for the first loss
        self._records.append(record)
        step, steps = record["step"], self._training["max_steps"]
        self._bar.max, self._bar.value = steps, step
        if record["held_out_loss"] is not None or step == 1:
            found = "" if record["held_out_loss"] is None else f", held-out loss {record['held_out_loss']:.4f}"
            self._news_(f"Training: step {step} of {steps}{found}.")
        if step in (1, steps) or time.monotonic() >= self._drawn_s + _EVERY_S:
            self._draw_(self._view())

    def _done_(self, result: dict) -> None:
        seed, metrics = self._training["seed"], result["metrics"]
        card = Card("trial", result["parameters"], seed, datetime.now(UTC).isoformat(timespec="seconds"),
                    status="done", metrics=metrics)
        earlier = [one for one in self.cards if one.seed == seed and knobs_of(one) == knobs_of(card)]
        self._trained = [*(one for one in self._trained if one not in earlier), card]
        self._grid = with_card(self._grid, card)
        for name, knob in self._knobs.items():  # a value that was typed is a measured one now
            knob.set_(self._chosen[name])
        found = ", ".join(f"{MEASURES[name].words} {MEASURES[name].written(value)}" for name in SCORES
                          if (value := metric(card, name)) is not None)
        before = [f" It takes the place of the run with this seed, whose {MEASURES[SCORES[0]].words} was "
                  f"{MEASURES[SCORES[0]].written(metric(one, SCORES[0]))}." for one in earlier]
        self._ended_(f"Trained and added to the grid: {found}.{''.join(before)}")

    def _ended_(self, text: str, wrong: bool = False) -> None:
        self._records, self._picture = [], None
        self._buttons_(training=False)
        self._news_(text, wrong)  # before the picture, which takes longer
        self._show()
