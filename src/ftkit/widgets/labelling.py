"""The labelling widget: one record at a time, a key or a button for each label, every vote saved at once.

Knows nothing about what the labels are for. Without a person at a front end it is a table of what was given so far.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftkit.widgets.shell import Shell
from ftkit.widgets.still import Still
from ftkit.widgets.votes import Votes

SKIP, BACK = "0", "-"  # typed alike with every keyboard and with a Chinese input method
SHOWN_RECORDS, SHOWN_CHARACTERS = 5, 160
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 8px 0"

_open: dict[str, "Labelling"] = {}  # by file: a cell that is run again closes what it showed before


class Labelling(Shell):
    """A shell round `Votes`: live in a notebook that a person has open, a `Still` elsewhere."""

    def __init__(self, votes: Votes):
        self.votes, self._typed = votes, ""

    def static(self) -> Still:
        """What is shown where nobody can click."""
        return Still(_progress(self.votes), [_counts(self.votes), _first(self.votes)])

    def _build(self):
        import ipywidgets as widgets

        wide = widgets.Layout(width="100%", max_width="48em")
        self._said, self._record = widgets.HTML(), widgets.HTML(layout=wide)
        self._keys = widgets.Text(description="Keys", placeholder="click here and type", layout=wide,
                                  tooltip=f"Type: {_keys(self.votes)}")
        self._note = widgets.Text(description="Note", placeholder="kept with the next label", layout=wide,
                                  tooltip="A note on this record, kept with its label",
                                  continuous_update=False)  # sent whole when left: letters would arrive after the key
        self._buttons = [widgets.Button(description=f"{key} {label}", tooltip=f"Label this record {label} (key {key})")
                         for key, label in enumerate(self.votes.labels, 1)]
        for button, label in zip(self._buttons, self.votes.labels, strict=True):
            button.on_click(lambda _, label=label: self._do(lambda: self._set(label)))
        moves = []
        for name, act, tip in (("- back", self.votes.back, "The record before (key -)"),
                               ("0 skip", self.votes.skip, "The next record without a label (key 0)"),
                               ("undo", self.votes.undo, "Withdraw the last label (Backspace among the keys)")):
            moves.append(widgets.Button(description=name, tooltip=tip))
            moves[-1].on_click(lambda _, act=act: self._do(act))
        self._keys.observe(self._on_keys, "value")
        help_ = widgets.HTML(f"<small>{html.escape(_keys(self.votes))}</small>")
        return widgets.VBox([self._said, self._record, widgets.HBox(self._buttons, layout=widgets.Layout(
            flex_flow="row wrap")), self._keys, self._note, widgets.HBox(moves), help_])

    def _on_keys(self, change: dict) -> None:
        """Acts on what was typed since. The box is never emptied: a key typed meanwhile would be counted twice."""
        typed, removed = _difference(self._typed, change["new"])
        self._typed = change["new"]
        for key in typed:
            self._press(key)
        if removed == 1 and not typed:
            self._do(self.votes.undo)

    def _press(self, key: str) -> None:
        labels = self.votes.labels
        if key == SKIP:
            self._do(self.votes.skip)
        elif key == BACK:
            self._do(self.votes.back)
        elif key.isdecimal() and int(key) <= len(labels):
            self._do(lambda: self._set(labels[int(key) - 1]))
        elif key.strip():
            self._show(f"The key {key} stands for nothing here. ")

    def _set(self, label: str) -> None:
        if not self.votes.done:
            self.votes.set(label, self._note.value.strip())

    def _do(self, act) -> None:
        act()
        self._show()

    def _show(self, remark: str = "") -> None:
        votes = self.votes
        given = votes.vote(votes.place)
        said = "All records have a label." if votes.done else f"Record {votes.place + 1}." + (
            f" Its label: {given.label}." if given else "")
        self._said.value = (f'<div role="status" aria-live="polite">{html.escape(remark)}<b>{_progress(votes)}</b> '
                            f"{html.escape(said)}</div>")
        self._record.value = "" if votes.done else f"<dl>{_parts_html(votes.records[votes.place])}</dl>"
        self._note.value = given.note if given else ""
        for key, (button, label) in enumerate(zip(self._buttons, votes.labels, strict=True), 1):
            button.description = f"{key} {label}{' (chosen)' if given and given.label == label else ''}"
            button.disabled = votes.done


def labelling(records: Sequence, path: str | Path, labels: Sequence[str] = ("keep", "drop", "fix")) -> Labelling:
    """A widget to label records by hand, which goes on where the file ends.

    Keys 1 to 9 choose a label, 0 skips, - goes back, Backspace withdraws the last label. Running the cell again closes
    the widget that it showed before.

    Args:
        records: dictionaries with text in them, lists of messages, or texts.
        path: a JSON Lines file; every vote is appended to it at once.
        labels: one to nine names.

    Raises:
        Refusal: as `Votes` does.

    Taught in: 03_data
    """
    shell, key = Labelling(Votes(records, path, labels)), str(Path(path).resolve())
    if key in _open:
        _open[key].close()
    _open[key] = shell
    return shell


def _difference(before: str, after: str) -> tuple[str, int]:
    """What was typed into a text, wherever in it, and how many characters were taken away."""
    most = min(len(before), len(after))
    head = next((place for place in range(most) if before[place] != after[place]), most)
    rest = most - head
    tail = next((place for place in range(rest) if before[-1 - place] != after[-1 - place]), rest)
    return after[head:len(after) - tail], len(before) - head - tail


def _parts(record: object) -> list[tuple[str, str]]:
    """The record as pairs of a field, or a role, and its text."""
    if isinstance(record, Mapping) and isinstance(record.get("messages"), list):
        return [*_parts({name: value for name, value in record.items() if name != "messages"}),
                *_parts(record["messages"])]
    if isinstance(record, list):
        return [(str(turn.get("role", "")), str(turn.get("content", ""))) if isinstance(turn, Mapping)
                else ("", str(turn)) for turn in record]
    if isinstance(record, Mapping):
        return [(str(name), str(value)) for name, value in record.items() if value not in (None, "")]
    return [("", str(record))]


def _parts_html(record: object) -> str:
    return "".join(f'<dt><b>{html.escape(name)}</b></dt><dd style="{_TEXT}"><bdi>{html.escape(text)}</bdi></dd>'
                   for name, text in _parts(record))


def _progress(votes: Votes) -> str:
    return f"{len(votes.given)} of {len(votes.records)} labelled."


def _keys(votes: Votes) -> str:
    labels = ", ".join(f"{key} {label}" for key, label in enumerate(votes.labels, 1))
    return f"{labels}, {SKIP} skip, {BACK} back, Backspace withdraws the last label."


def _counts(votes: Votes) -> tuple[list[str], list[list]]:
    return ["label", "records"], [[label, count] for label, count in votes.counts().items()]


def _first(votes: Votes) -> tuple[list[str], list[list]]:
    rows = []
    for place, record in enumerate(votes.records[:SHOWN_RECORDS]):
        text = " / ".join(part.replace("\n", " ") for _, part in _parts(record))
        given = votes.vote(place)
        rows.append([place + 1, text[:SHOWN_CHARACTERS] + "…" * (len(text) > SHOWN_CHARACTERS),
                     given.label if given else "", given.note if given else ""])
    return ["record", "text", "label", "note"], rows
