"""Named steps over records, one after the other, with one report of what each did; then the split, and the files.

Knows nothing about how any step works: a step is a function `records -> (records, StepReport)`.
"""

import inspect
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftkit.data.duplicates import exact_duplicates, near_duplicates
from ftkit.data.normalising import normalise
from ftkit.data.personal import personal
from ftkit.data.quality import quality
from ftkit.data.records import placed
from ftkit.data.reports import Report, StepReport
from ftkit.data.splitting import split
from ftkit.data.workers import Progress, Workers
from ftkit.errors import refusal
from ftkit.files import replace_folder, write_atomic, write_json

Step = Callable[..., tuple[list[dict], StepReport]]
# personal data goes before anything is dropped: what is dropped is kept in a file, too
STEPS: tuple[Step, ...] = (normalise, personal, exact_duplicates, quality, near_duplicates)
FILES = ("train.jsonl", "held_out.jsonl", "dropped.jsonl", "report.json")
_LEFT_BY_OTHERS = (".ipynb_checkpoints", ".DS_Store")  # by Jupyter and by a Mac where somebody looked at the files


@dataclass(frozen=True, repr=False)
class Prepared:
    """What is left of the records, in their old order and split, and the report of what happened to the others."""

    records: list[dict]
    train: list[dict]
    held_out: list[dict]
    report: Report
    seed: int

    def __repr__(self) -> str:
        return f"{self.report}\n{len(self.train)} records to train on, {len(self.held_out)} held out"

    def write(self, folder: str | Path) -> Path:
        """The folder with train.jsonl, held_out.jsonl, dropped.jsonl (step, place, reason, record) and report.json.

        Written beside it first and then put in place: a kill leaves the older files or the new ones, never some of
        both. Between the two renames of that there is no such folder; the older one is beside it then, with `.old` at
        its end, and the next write takes it up. A folder with other files in it is not touched.

        Raises:
            Refusal: the folder is a file, or holds files that are not of a preparation.
        """
        folder = Path(folder).expanduser().resolve()
        if folder.is_file():
            raise refusal("folder", "a folder, new or written before", f"the file {folder.name}", "Name another.")
        partial, aside = (folder.with_name(f".{folder.name}.{which}") for which in ("partial", "old"))
        if aside.exists() and not folder.exists():
            os.replace(aside, folder)
        known = (*FILES, *_LEFT_BY_OTHERS)
        strange = sorted(item.name for item in folder.iterdir() if item.name not in known) if folder.exists() else []
        if strange:
            raise refusal("folder", "new, empty, or one written before", f"one with {', '.join(strange[:3])}",
                          "Name a folder of its own for the prepared data.")
        shutil.rmtree(partial, ignore_errors=True)  # what a kill left half written
        for name, rows in (("train", self.train), ("held_out", self.held_out), ("dropped", self.report.dropped())):
            write_atomic(partial / f"{name}.jsonl", _lines(rows))
        write_json(partial / "report.json", {
            "steps": self.report.rows(), "records": len(self.records), "train": len(self.train),
            "held_out": len(self.held_out), "seed": self.seed})
        return replace_folder(partial, folder)


def prepare(records: list[dict], steps: Sequence[Step] = STEPS, *, seed: int = 0, held_out_share: float = 0.1,
            stratify_by: str | Callable | None = None, near: float | None = 0.8, processes: int | None = None,
            progress: Progress | None = None) -> Prepared:
    """The records after all steps, split in two, and a report of how many went in and out of each step.

    The same records, steps and seed give the same result byte for byte, on any number of processes.

    Args:
        records: as `reading.read` gives them; each keeps its `place`, or gets its number from 0 as one.
        steps: functions `records -> (records, StepReport)`; one that has an argument `workers` is given the processes.
        seed: of the split.
        held_out_share: the part to hold out, between 0 and 1.
        stratify_by: a field or a function of a record whose values both parts should hold in the same shares.
        near: the similarity from which questions count as the same one for the split; None: only if they are equal.
        processes: how many to use; None uses all cores, and one alone where there is little to do.
        progress: called with the step's name, how many records it has done, and how many there are.

    Raises:
        Refusal: no records, a step that is no function or returns something else, or nothing that can be split is left.

    Example:
        >>> asked = [{"instruction": f"What is {n} times {n}?", "output": f"It is {n * n}."} for n in range(20)]
        >>> prepared = prepare([*asked, asked[3]], [exact_duplicates])
        >>> len(prepared.train), len(prepared.held_out), prepared.report.steps[0].dropped[0].kept
        (18, 2, 3)

    Taught in: 03_data
    """
    if not records:
        raise refusal("records", "at least one record", records, "Read some first.")
    records, reports = placed(records), []
    workers = Workers(processes, progress)
    for number, step in enumerate(steps):
        records, report = _run(step, number, records, workers)
        reports.append(report)
    if len(records) < 2:
        raise refusal("records", "two or more after all steps, to split them", len(records),
                      f"The steps dropped the others: {_most(reports)}.")
    train, held_out = split(records, held_out_share, seed, stratify_by=stratify_by, near=near, workers=workers)
    return Prepared(records, train, held_out, Report(reports), seed)


def _run(step: Step, number: int, records: list[dict], workers: Workers) -> tuple[list[dict], StepReport]:
    if not callable(step):
        raise refusal(f"steps[{number}]", "a function of records", step, "Pass the function, without calling it.")
    takes_workers = "workers" in inspect.signature(step).parameters
    result = step(records, workers=workers) if takes_workers else step(records)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], StepReport)):
        raise refusal(f"steps[{number}]", "a function that returns records and a StepReport", type(result).__name__,
                      "Return both.")
    return result


def _most(reports: list[StepReport]) -> str:
    return ", ".join(f"{report.name} {len(report.dropped)}" for report in reports if report.dropped) or "none"


def _lines(rows: list[dict]) -> bytes:
    # half characters come out as the \\u escapes that JSON writes them with
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode(
        "utf-8", errors="backslashreplace")
