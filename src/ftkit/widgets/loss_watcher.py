"""A training's curves while it runs: one figure that is replaced about every second, and stays as a picture.

The picture is an image in the notebook's output, so papermill, nbconvert and a closed browser keep the last one; no
JavaScript, no thread and no open matplotlib figure is behind it. Where a person is there to press it, a Stop button
stands above it while the training runs. Knows nothing about what trains.
"""

import io
import math
import sys
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ftkit.errors import refusal
from ftkit.train.curves import GapAlarm, curves_of, gap_alarm_of, smoothed
from ftkit.widgets.front_end import hear_while_running_, hears_while_running, live
from ftkit.widgets.shell import close_with_children

_PATIENCE = 20  # drawing waits so many times as long as it takes, so that it costs at most a twentieth


@dataclass(frozen=True)
class Series:
    """What the figure shows.

    Args:
        steps: of each record.
        losses: of each record.
        smoothed: the same, smoothed.
        held_out: pairs (step, loss).
        best: the pair with the lowest held-out loss; None without one.
        alarm: the gap alarm.
        text: all of it in a line.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    held_out: tuple[tuple[int, float], ...]
    best: tuple[int, float] | None
    alarm: GapAlarm
    text: str


def compute(trace: Iterable[Mapping]) -> Series:
    """The series of a trace.

    Args:
        trace: records of `train`; an empty one gives empty series.

    Raises:
        Refusal: not a list of records.

    Example:
        >>> compute([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "held_out_loss": 1.2}]).text
        'step 2: training loss 1, held out 1.2, best 1.2 at step 2'
    """
    curves = curves_of(trace)
    if not curves.steps:
        return Series((), (), (), (), None, gap_alarm_of(curves), "no step yet")
    finite = [one for one in curves.held_out if math.isfinite(one[1])]
    best, alarm = min(finite, key=lambda one: one[1], default=None), gap_alarm_of(curves)
    words = [f"training loss {curves.losses[-1]:.4g}"]
    if best:
        words += [f"held out {curves.held_out[-1][1]:.4g}", f"best {best[1]:.4g} at step {best[0]}"]
    if alarm:
        words.append(f"gap alarm since step {alarm.first_step}" if alarm.rings_now
                     else f"gap alarm at step {alarm.first_step}, silent now")
    return Series(tuple(curves.steps), tuple(curves.losses), tuple(smoothed(curves.losses)), tuple(curves.held_out),
                  best, alarm, f"step {curves.steps[-1]}: {', '.join(words)}")


class LossWatcher:
    """A live figure of a training's losses, which ends as a still picture with a caption and a line of text.

    Args:
        title: above the figure.
        every_s: seconds between pictures at least.

    Raises:
        Refusal: a time that is not above 0.

    Example:
        >>> watcher = LossWatcher()
        >>> [record["loss"] for record in watcher.watch([{"step": 1, "loss": 2.0}])]
        [2.0]
        >>> watcher.trace
        [{'step': 1, 'loss': 2.0}]

    Taught in: 04_train_and_watch
    """

    def __init__(self, title: str = "Loss while training", every_s: float = 1.0):
        if isinstance(every_s, bool) or not isinstance(every_s, int | float) or not every_s > 0:
            raise refusal("every_s", "a number of seconds above 0", every_s)
        self.title, self.every_s, self.trace, self.stopped = title, every_s, [], False

    def watch(self, records: Iterable[Mapping]) -> Iterator[dict]:
        """The records, passed on; the figure shows those that were seen, and its last state is that of the last record.

        Outside a notebook nothing is shown. Once a person presses Stop the records end, as if there were no more; the
        training itself is at the step it had reached, and can be asked for more. `stopped` says whether that was so.

        Args:
            records: of `train`, or of another watcher. A second call begins a new figure.
        """
        self.trace, handle, next_s, stopped, ending = [], _Picture(), 0.0, "", sys.is_finalizing
        self.stopped, button = False, _StopButton()
        try:
            for record in records:
                self.trace.append(record)
                if handle.is_seen and time.monotonic() >= next_s:
                    began_s = time.monotonic()
                    handle.show(self._png(), compute(self.trace).text)
                    next_s = time.monotonic() + max(self.every_s, _PATIENCE * (time.monotonic() - began_s))
                yield record
                if button.was_pressed:
                    self.stopped, stopped = True, "Stop was pressed"
                    return
        except GeneratorExit:
            stopped = "nobody asked for more"
            raise
        except BaseException as error:
            stopped = type(error).__name__
            raise
        finally:
            button.close()
            if self.trace and handle.is_seen and not ending():
                note = f" Stopped early: {stopped}." if stopped else ""
                handle.show(self._png(note), compute(self.trace).text + (f" (stopped: {stopped})" if stopped else ""))

    def static(self):
        """A matplotlib Figure of what was seen so far, belonging to nobody: it is not open in pyplot."""
        return self._figure("")

    def _figure(self, note: str):
        from matplotlib.figure import Figure

        from ftkit.plots import caption

        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        series = compute(self.trace)
        _draw_(figure.subplots(), series, self.title)
        caption(figure, f"{series.text[0].upper()}{series.text[1:]}. {_what_to_look_at(series)}{note}")
        return figure

    def _png(self, note: str = "") -> bytes:
        stream = io.BytesIO()
        self._figure(note).savefig(stream, format="png", dpi=100)
        return stream.getvalue()


class _StopButton:
    """A button while the training runs, where presses can reach a kernel that is busy."""

    def __init__(self):
        self.was_pressed, self._button, self._handle = False, None, None
        if not (live() and hears_while_running()):
            return
        import ipywidgets as widgets
        from IPython.display import display

        self._button = widgets.Button(description="Stop", tooltip="End the training after the step that runs")
        self._button.on_click(self._press)
        hear_while_running_(self._button)
        said = widgets.HTML("<small>ends the training after the step that runs. If nothing happens, this front end "
                            "keeps presses back until the cell ends: interrupt the kernel instead.</small>")
        self._box = widgets.HBox([self._button, said])
        self._handle = display(self._box, display_id=True)

    def close(self) -> None:
        """Takes the button away."""
        if self._handle is None or sys.is_finalizing():
            return
        said = "Stop was pressed." if self.was_pressed else ""
        self._handle.update({"text/plain": said}, raw=True)
        close_with_children(self._box)

    def _press(self, _button: object) -> None:
        self.was_pressed, self._button.disabled = True, True
        self._button.description = "Stopping"


class _Picture:
    """One output of a notebook cell, made with the first picture and replaced by the next ones."""

    def __init__(self):
        from IPython import get_ipython

        self.is_seen, self._handle = hasattr(get_ipython(), "kernel"), None

    def show(self, png: bytes, text: str) -> None:
        from IPython.display import display

        content = {"image/png": b64encode(png).decode("ascii"), "text/plain": text}
        told = {"image/png": {"alt": text}}  # for those who do not see it
        if self._handle is None:
            self._handle = display(content, metadata=told, raw=True, display_id=True)
        else:
            self._handle.update(content, metadata=told, raw=True)


def _draw_(ax, series: Series, title: str) -> None:
    from ftkit.axes import COLOURS, finish_

    ax.plot(series.steps, series.losses, color=COLOURS[4], linewidth=0.8, alpha=0.7, label="training, each step")
    ax.plot(series.steps, series.smoothed, color=COLOURS[0], linewidth=2, label="training, smoothed")
    if series.held_out:
        ax.plot(*zip(*series.held_out, strict=True), "s--", color=COLOURS[1], label="held out")
    if series.best:
        ax.plot(*series.best, "*", color=COLOURS[2], markersize=14, label=f"best, step {series.best[0]}")
    if series.alarm:
        ax.axvline(series.alarm.first_step, color=COLOURS[6], linestyle=":",
                   label=f"gap of {series.alarm.share:.0%}, step {series.alarm.first_step}")
    finish_(ax, title, "optimizer step", "loss per label token (nats)")


def _what_to_look_at(series: Series) -> str:
    if not series.held_out:
        return "No held-out loss yet."
    return "Where the held-out points turn up while the training line falls, it learns by heart."
