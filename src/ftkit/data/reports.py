"""What a step did to the records: how many in and out, and what was dropped and why.

Knows nothing about how a step decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ftkit.data.records import FIELDS
from ftkit.tables import aligned

SHOWN_CHARACTERS = 60


class Dropped(NamedTuple):
    """A record that a step took out; of a duplicate, `kept` is the place of the record that stays in its stead."""

    place: int | str
    reason: str
    record: dict
    kept: int | str | None = None


@dataclass(frozen=True, repr=False)
class StepReport:
    """One step: records in and out, how many it changed, what it dropped, and its counters by name (`notes`)."""

    name: str
    records_in: int
    records_out: int
    changed: int = 0
    dropped: Sequence[Dropped] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.name}: {self.records_in} in, {self.records_out} out, {self.changed} changed; {_remark(self)}"

    def row(self) -> dict:
        """The step as a row of the table: all but the dropped records themselves."""
        return {"step": self.name, "records_in": self.records_in, "records_out": self.records_out,
                "changed": self.changed, "dropped": len(self.dropped), "notes": dict(self.notes)}

    def reasons(self) -> dict[str, int]:
        """How many records were dropped for each reason, the most frequent first; what follows a colon is left out."""
        return dict(Counter(entry.reason.partition(":")[0] for entry in self.dropped).most_common())

    def examples(self, most: int = 3) -> list[Dropped]:
        """A few of the dropped, one of each reason before a second of any."""
        seen: Counter = Counter()
        ranked = []
        for entry in self.dropped:
            kind = entry.reason.partition(":")[0]
            ranked.append((seen[kind], entry))
            seen[kind] += 1
        return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])[:most]]


@dataclass(frozen=True, repr=False)
class Report:
    """All steps in the order they ran."""

    steps: Sequence[StepReport]

    def rows(self) -> list[dict]:
        """A row for each step: step, records_in, records_out, changed, dropped, notes."""
        return [step.row() for step in self.steps]

    def dropped(self) -> list[dict]:
        """Every dropped record with its step, place, reason and, of a duplicate, the place of the kept one."""
        return [{"step": step.name, "place": entry.place, "reason": entry.reason}
                | ({} if entry.kept is None else {"kept": entry.kept}) | {"record": entry.record}
                for step in self.steps for entry in step.dropped]

    def __repr__(self) -> str:
        headers = ["step", "in", "out", "changed", "dropped", "why, and what else was counted"]
        rows = [[step.name, step.records_in, step.records_out, step.changed, len(step.dropped), _remark(step)]
                for step in self.steps]
        return aligned(headers, rows)


def _remark(step: StepReport) -> str:
    counts = {**step.reasons(), **step.notes}
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def shown(record: dict) -> str:
    """The record's texts in one short line, for a table of examples."""
    texts = [record[field] for field in FIELDS if isinstance(record.get(field), str) and record[field]]
    texts += [message["content"] for message in record.get("messages", ())]
    line = " | ".join(" ".join(text.split()) for text in texts)
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS - 1] + "…"
