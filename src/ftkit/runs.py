"""A run folder: its card, its trace, a lock against a second writer, and a table of many runs.

    card.json      what was done and what came out, see `cards`
    trace.jsonl    one record a line, in the order of steps
    checkpoints/   written by `train`

Knows nothing about training. A process may be killed at any moment: the folder stays readable, and opening it again
goes on where its records end.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ftkit.cards import CARD, SCHEMA, Card, commit, data_entries, model_entry, read_card, rerun_request, versions
from ftkit.cards import write_card as _write_card
from ftkit.device import hardware, thread_count
from ftkit.errors import Refusal, refusal
from ftkit.files import DiskFull, append_whole, needs_room, write_atomic
from ftkit.locks import Lock
from ftkit.scrub import scrub

__all__ = ["SCHEMA", "Card", "Run", "collect", "open_run", "read_card", "rerun_request", "scrub"]
TRACE = "trace.jsonl"
GO_ON = "The run can be continued: open it again, and it goes on from its last checkpoint."
_SAME = ("parameters", "seed", "data", "model")  # what makes it the same run
_LATER = {"optimizer": "adamw"}  # parameters that came later, and what stood for them in the folders written before


class Run:
    """An opened run folder; only `open_run` makes one. Usable in a `with`: an exception marks the run as failed.

    Args:
        folder: where it is.
        card: as stored last.
    """

    def __init__(self, folder: Path, card: Card, lock: Lock):
        self.folder, self.card, self._lock = folder, card, lock
        self._file = None
        self._opened_s = time.monotonic() - card.elapsed_s

    @property
    def is_open(self) -> bool:
        """Whether it can be written to."""
        return self._lock.held

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, place: object) -> None:
        if error is not None and not isinstance(error, GeneratorExit | KeyboardInterrupt) and self.is_open:
            with suppress(DiskFull):  # then the card says "running", and the error is the one that is on its way
                self.fail(error)
        self.close()

    def record(self, values: dict) -> None:
        """Appends one record to the trace.

        Raises:
            Refusal: the folder was closed, or opened again since.
            DiskFull: there is no room; the trace ends with the record before.
        """
        self._check_open()
        if self._file is None:
            self._file = (self.folder / TRACE).open("ab", buffering=0)  # a kill of this process loses nothing
        line = (json.dumps(scrub(values), ensure_ascii=False) + "\n").encode("utf-8")
        with needs_room(self.folder, "a record of the trace", len(line), GO_ON):
            append_whole(self._file, line)

    def sync(self) -> None:
        """Makes sure the trace is on the disk, so that a checkpoint never is ahead of it, even after a power cut."""
        if self._file is not None:
            with needs_room(self.folder, "the trace", os.fstat(self._file.fileno()).st_size, GO_ON):
                os.fsync(self._file.fileno())

    def trace(self) -> list[dict]:
        """All records, in order; a last line that a kill cut short is left out.

        Raises:
            Refusal: a line before the last is no record; the sentence names it.
        """
        return read_trace(self.folder)

    def cut_trace_(self, step: int) -> list[dict]:
        """Takes out the records of steps after `step`; returns those that stay.

        Raises:
            Refusal: the folder was closed, or opened again since.
        """
        self._check_open()
        self._end_file()
        kept = [record for record in self.trace() if record.get("step", 0) <= step]
        write_atomic(self.folder / TRACE, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept))
        return kept

    def note(self, metrics: dict) -> Card:
        """The card with more metrics; the run stays as running as it is."""
        return self._change(metrics=self.card.metrics | metrics)

    def finish(self, metrics: dict | None = None) -> Card:
        """The card, marked as done, with these metrics besides those it has; the folder is free for others."""
        card = self._change(status="done", error=None, metrics=self.card.metrics | (metrics or {}))
        self.close()
        return card

    def fail(self, error: BaseException | str) -> Card:
        """The card, marked as failed, and why; the folder is free for others."""
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        try:
            return self._change(status="failed", error=said)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the folder; the run can be opened and continued later."""
        self._end_file()
        self._lock.release()

    def _change(self, **changes: object) -> Card:
        self._check_open()
        elapsed_s = round(time.monotonic() - self._opened_s, 3)
        self.card = _write_card(self.folder, replace(self.card, elapsed_s=elapsed_s, **changes))
        return self.card

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_open(self) -> None:
        if not self.is_open:
            raise refusal(f"run {self.folder.name}", "open", "one that was finished, closed or opened again since",
                          "Open it with open_run.")


def open_run(folder: str | Path, parameters: dict, *, name: str, seed: int, data: list | None = None,
             model: object = None) -> Run:
    """The run in a folder: a new one, or the same run again, to go on with.

    Args:
        folder: made if it isn't there.
        parameters: everything that decides the result, by name.
        name: the run's name, for tables.
        seed: of all that is random in it.
        data: paths of the data files, or dicts with name and sha256.
        model: name of the base model, or a dict with name and sha256.

    Raises:
        Refusal: the folder holds another run (the sentence says in what it differs) or no run at all, its card is
            damaged, or another process is writing to it.
        DiskFull: there is no room for it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise refusal("run folder", "a folder", f"the file {folder.name}", "Choose another place.")
    with needs_room(folder, "a run", 0, "Then open it again."):
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)  # refuses a folder in use
    try:
        card = _card_for(folder, Card(
            name=name, parameters=parameters, seed=seed, started=datetime.now(UTC).isoformat(timespec="seconds"),
            data=data_entries(data), model=model_entry(model)))
        _mend(folder)
    except BaseException:
        lock.release()
        raise
    return Run(folder, card, lock)


def read_trace(folder: str | Path) -> list[dict]:
    """All records of a run folder, in order; a last line that a kill cut short is left out.

    Raises:
        Refusal: a line before the last is no record; the sentence names it.
    """
    path = Path(folder) / TRACE
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # after the last newline: nothing, or a torn record
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise refusal(f"{path.parent.name}/{TRACE}, line {number}", "a JSON object", line[:40],
                          "Delete that line, or the whole run.")
        records.append(record)
    return records


def collect(folder: str | Path):
    """A tidy table of all runs in and under a folder: one row a run.

    Columns: run (the folder's path from here), name, status, seed, started, elapsed_s, threads, model, commit, error,
    then param.* and metric.*. A card that can't be read is no reason to lose the others: `table.attrs["unreadable"]` is
    a list of such folders and why.

    Raises:
        Refusal: there is no such folder.
    """
    import pandas

    folder = Path(folder)
    if not folder.is_dir():
        raise refusal("folder", "an existing folder with runs in it", str(folder), "Check the path.")
    rows, unreadable = [], []
    for path in sorted(folder.rglob(CARD)):
        place = path.parent.relative_to(folder).as_posix()
        try:
            rows.append({"run": place, **_row(read_card(path.parent))})
        except (Refusal, OSError) as error:
            unreadable.append({"run": place, "why": str(error)})
    table = pandas.DataFrame(rows)
    table.attrs["unreadable"] = unreadable
    return table


def _row(card: Card) -> dict:
    plain = {name: getattr(card, name) for name in ("name", "status", "seed", "started", "elapsed_s", "threads")}
    return {**plain, "model": card.model.get("name"), "commit": card.commit, "error": card.error,
            **{f"param.{name}": value for name, value in card.parameters.items()},
            **{f"metric.{name}": value for name, value in card.metrics.items()}}


def _card_for(folder: Path, given: Card) -> Card:
    """The card stored in the folder if it is of the same run, else the given one, stored."""
    if not (folder / CARD).is_file():
        strangers = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if strangers:
            raise refusal("run folder", "a new, an empty or a run's folder", f"{folder.name} with {strangers[0]}",
                          "Choose another folder.")
        return _write_card(folder, replace(given, versions=versions(), commit=commit(), hardware=hardware(),
                                           threads=thread_count()))
    stored = read_card(folder)
    new = Card(**{name: scrub(getattr(given, name)) for name in ("name", "started", *_SAME)})
    stored_now = replace(stored, parameters={
        **{key: value for key, value in _LATER.items() if key in new.parameters}, **stored.parameters})
    differing = [name for name in _SAME if getattr(new, name) != getattr(stored_now, name)]
    if differing:
        raise refusal(f"run folder {folder.name}", "a new one, or hold this same run",
                      f"a run with other {differing[0]}",
                      f"There and here: {_difference(differing[0], stored_now, new)}. Choose another folder.")
    if stored.status == "failed":
        return _write_card(folder, replace(stored, status="running", error=None))
    return stored


def _difference(name: str, stored: Card, new: Card) -> str:
    old, now = getattr(stored, name), getattr(new, name)
    if name != "parameters":
        return f"{name} {_brief(old)} and {_brief(now)}"
    keys = [key for key in {**old, **now} if old.get(key) != now.get(key) or (key in old) != (key in now)]
    return ", ".join(f"{key} {_brief(old.get(key))} and {_brief(now.get(key))}" for key in keys)


def _brief(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_brief(one) for one in value) or "none"
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['name']} {str(value['sha256'])[:8]}"
    return repr(value)


def _mend(folder: Path) -> None:
    """Takes away what a kill may have left: half-written files, and a last record cut short."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)
    trace = folder / TRACE
    if trace.is_file():
        raw = trace.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            os.truncate(trace, whole)
