"""Labels that a person gives to records, each kept in a file as soon as it is given, and how far two people agree.

Knows nothing about how records are shown or how the person says what to do.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ftkit.errors import refusal, unknown
from ftkit.files import sha256, write_atomic

MOST_LABELS = 9  # one for each key from 1 to 9


class Vote(NamedTuple):
    """A label and a note beside it, empty if there is none."""

    label: str
    note: str = ""


class Votes:
    """The labels given so far, and the record that is up.

    The file is JSON Lines: a first line that says for which records it is, then a line for each vote, appended and
    forced to the disk before anything else happens; a later line about the same record counts instead of an earlier
    one, and a label of null withdraws it. A line that a kill left half-written is dropped. Opened again, it goes on
    with the first record that has no label.

    Args:
        records: what is labelled, in order; anything that JSON can hold.
        path: the file; it is made with the first vote.
        labels: what a record can be called, in the order of their keys.

    Raises:
        Refusal: no records; no labels, more than nine, or two alike; the file is for other records, uses another
            label, or a line of it cannot be read.

    Taught in: 03_data
    """

    def __init__(self, records: Sequence, path: str | Path, labels: Sequence[str] = ("keep", "drop", "fix")):
        self.records, self.path, self.labels = list(records), Path(path), tuple(labels)
        if not self.records:
            raise refusal("records", "at least one", "none")
        if isinstance(labels, str) or not 1 <= len(set(self.labels)) == len(self.labels) <= MOST_LABELS:
            raise refusal("labels", f"1 to {MOST_LABELS} different names", labels)
        if self.path.is_dir():
            raise refusal("path", "a JSON Lines file, new or of these votes", str(path), "That is a folder.")
        content = json.dumps(self.records, ensure_ascii=False, sort_keys=True, default=str)
        self._header = {"votes_on": sha256(content.encode("utf-8", "surrogatepass")), "records": len(self.records)}
        self._given: dict[int, Vote] = {}  # in the order they were given
        if self.path.exists():
            self._read()
        self.place = self._next_open(0)

    @property
    def done(self) -> bool:
        """Whether no record is up: all have a label."""
        return self.place == len(self.records)

    @property
    def given(self) -> dict[int, str]:
        """The label of each record that has one, by its place."""
        return {place: vote.label for place, vote in sorted(self._given.items())}

    def vote(self, place: int) -> Vote | None:
        """The label and note of a record; None if it has none."""
        return self._given.get(place)

    def counts(self) -> dict[str, int]:
        """How many records have each label, and how many have none."""
        found = Counter(vote.label for vote in self._given.values())
        return {label: found[label] for label in self.labels} | {"no label": len(self.records) - len(self._given)}

    def set(self, label: str, note: str = "") -> None:
        """The record that is up has this label from now on, and the next one without a label is up.

        Raises:
            Refusal: the label is none of those to choose from; or all records have one.
        """
        if label not in self.labels:
            raise unknown("label", label, self.labels)
        if self.done:
            raise refusal("vote", "for a record", "one after the last", "All have a label: go back to change one.")
        self._append({"record": self.place, "label": label, "note": note})
        self.skip()

    def skip(self) -> None:
        """The next record without a label is up, from the start again after the last; this one stays as it is."""
        self.place = self._next_open(self.place + 1)

    def back(self) -> None:
        """The record before this one is up, whether it has a label or not."""
        self.place = max(0, self.place - 1)

    def undo(self) -> None:
        """The vote given last is withdrawn and its record is up; nothing happens if there is none."""
        if self._given:
            self.place = next(reversed(self._given))
            self._append({"record": self.place, "label": None})

    def _next_open(self, start: int) -> int:
        count = len(self.records)
        return next((place % count for place in range(start, start + count) if place % count not in self._given), count)

    def _append(self, line: dict) -> None:
        if not self.path.exists():
            write_atomic(self.path, json.dumps(self._header) + "\n")
        with self.path.open("ab") as file:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        self._take(line)

    def _take(self, line: dict) -> None:
        self._given.pop(line["record"], None)
        if line["label"] is not None:
            self._given[line["record"]] = Vote(line["label"], line.get("note", ""))

    def _read(self) -> None:
        raw = self.path.read_bytes()
        whole = raw[:raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            write_atomic(self.path, whole)
        lines = [self._parsed(number, line) for number, line in enumerate(whole.split(b"\n")[:-1], 1)]
        if not lines or lines[0] != self._header:
            raise refusal(self.path.name, "the votes on these records",
                          "those on others" if lines and "votes_on" in lines[0] else "another file",
                          "Give another path, or the records that it was begun with, in the same order.")
        for number, line in enumerate(lines[1:], 2):
            place, label = line.get("record"), line.get("label")
            if not isinstance(place, int) or not 0 <= place < len(self.records):
                raise refusal(f"{self.path.name}, line {number}: record", f"from 0 to {len(self.records) - 1}", place)
            if label is not None and label not in self.labels:
                raise unknown(f"{self.path.name}, line {number}: label", label, self.labels,
                              "Add it to labels, or begin another file.")
            self._take({"label": None, **line})

    def _parsed(self, number: int, line: bytes) -> dict:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise refusal(f"{self.path.name}, line {number}", "a JSON object", line, "Mend or delete that line.")
        return value


def kappa(first: Mapping[int, str], second: Mapping[int, str]) -> float:
    """Cohen's kappa: how far two people agree beyond chance on the records that both have labelled.

    1 is full agreement, 0 is what chance alone gives. Not a number where both gave one and the same label to all, as
    chance alone would then agree fully.

    Equation: κ = (p_o − p_e) / (1 − p_e), with p_o the share of equal labels and p_e = Σ_k p_1(k) p_2(k).

    Args:
        first: label by record, as `Votes.given` has it.
        second: the same from another person.

    Raises:
        Refusal: no record has a label from both.

    Example:
        >>> kappa({0: "keep", 1: "drop", 2: "keep", 3: "drop"}, {0: "keep", 1: "drop", 2: "keep", 3: "keep"})
        0.5

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    both = sorted(set(first) & set(second))
    if not both:
        raise refusal("first and second", "votes with at least one record in common", "none in common")
    seen = sum(first[place] == second[place] for place in both) / len(both)
    ones, others = (Counter(votes[place] for place in both) for votes in (first, second))
    chance = sum(ones[label] * others[label] for label in ones) / len(both) ** 2
    return math.nan if chance == 1 else (seen - chance) / (1 - chance)
