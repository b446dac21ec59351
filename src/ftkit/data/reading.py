"""A learner's own data to records: files, folders and hub names; every bad row is named and set aside.

Knows nothing about tokens or models; where the rows come from is `formats`' affair, what they mean is `columns`'.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ftkit.data.columns import Problem, mapping_of, record_of
from ftkit.data.formats import SUFFIXES, Opened, Row, open_rows
from ftkit.errors import Refusal, nearest, refusal
from ftkit.files import write_atomic

REJECTED = "rejected.jsonl"
_BESIDE_TRAIN = ("dropped.jsonl", "report.json")  # what a preparation writes beside its records
_SAMPLED_ROWS = 1000  # rows that are looked at to learn which columns there are
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


@dataclass(frozen=True, repr=False)
class Reading:
    """What came out of the data: nothing is dropped without a line in `rejected`.

    `records` are `{"instruction", "input", "output"}` or `{"messages"}`; `rejected` holds file, line (or row number),
    field, reason and the row itself; `files` name, sha256, encoding, format, rows and mapping of each; `mapping` is the
    first file's; `skipped` names the files of a folder that are in no known format, or says what is wrong with one as a
    whole; `places` says where each record stood.
    """

    records: list[dict]
    rejected: list[dict]
    files: list[dict]
    mapping: dict[str, str]
    skipped: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def placed(self) -> list[dict]:
        """The records, each with its file and line (or row) under `place`, which the steps of a pipeline keep."""
        return [{**record, "place": place} for record, place in zip(self.records, self.places, strict=True)]

    def __repr__(self) -> str:
        reasons = Counter(_kind(row) for row in self.rejected).most_common()
        aside = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "none"
        skipped = f"; files skipped: {'; '.join(self.skipped)}" if self.skipped else ""
        return f"{len(self.records)} records from {len(self.files)} file(s); set aside: {aside}{skipped}"


def read(source: str | Path, columns: str | None = None, limit: int | None = None,
         rejected: str | Path | None = None, keep: Sequence[str] = ()) -> Reading:
    """The records in a file, a folder of files, or a hub data set.

    Args:
        source: JSON, JSON Lines, CSV, TSV or Parquet, a folder of them, or a hub name ("owner/name").
        columns: None to go by the usual column names, or pairs such as "instruction=ask,output=answer".
        limit: stop after this many good records; None reads all.
        rejected: a folder to write `rejected.jsonl` into, one bad row a line; None writes nothing.
        keep: columns to carry along in each record under their own names, for example to stratify a split by.

    Raises:
        Refusal: there is no such source, or no row is good; a file, or all in a folder, is broken as a whole, its
            columns are not understood, or it has no such column to keep.

    Taught in: 03_data
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if limit is not None and limit < 1:
        raise refusal("limit", "1 or more records", limit, "Leave it out to read all.")
    records, aside, files, skipped, places, refused = [], [], [], [], [], []
    for name, opening in _sources(source, skipped):
        room = None if limit is None else limit - len(records)
        if room == 0:
            break
        try:
            opened = opening()
            found, bad, entry, lines = _read_one(name, opened, columns, room, keep)
        except Refusal as error:
            skipped.append(str(error))
            refused.append(error)
            continue
        records += found
        places += [f"{name}, {opened.place(line)}" for line in lines]
        aside += bad
        files.append(entry)
    if rejected is not None:
        _set_aside(Path(rejected), aside)
    if refused and not records and not aside:
        raise refused[0]
    if not records:
        first = aside[0]
        raise refusal("data", "at least one good row", f"{len(aside)} rows, all of them set aside",
                      f"First, at {first['line']} in {first['file']}: {first['reason']}")
    return Reading(records, aside, files, files[0]["mapping"], skipped, places)


def _read_one(name: str, opened: Opened, columns: str | None, room: int | None,
              keep: tuple[str, ...]) -> tuple[list, list, dict, list[int]]:
    rows = opened.rows
    sample = list(itertools.islice(rows, _SAMPLED_ROWS))
    if all(row.reason for row in sample):
        sample += rows
    if not sample:
        raise refusal(name, "a file with rows", "a header alone", "Check that it was saved whole.")
    readable = [row.value for row in sample if not row.reason]
    present = list(dict.fromkeys(key for row in readable for key in row))
    mapping = mapping_of(columns, present, name) if readable else {}
    _check_kept(keep, present, name)
    records, aside, lines, count = [], [], [], 0
    for row in itertools.chain(sample, rows):
        count += 1
        result = Problem("", row.reason) if row.reason else record_of(row.value, mapping)
        if isinstance(result, Problem):
            aside.append({"file": name, "line": row.line, "field": result.field, "reason": result.reason,
                          "row": row.value})
        else:
            records.append({column: row.value.get(column) for column in keep} | result)
            lines.append(row.line)
        if len(records) == room:
            break
    return records, aside, {"name": name, "sha256": opened.sha256, "encoding": opened.encoding,
                            "format": opened.format, "rows": count, "rejected": len(aside), "mapping": mapping}, lines


def _check_kept(keep: tuple[str, ...], present: list[str], name: str) -> None:
    for column in keep:
        if column not in present:
            near = nearest(column, present)
            raise refusal("keep", f"columns of {name} ({', '.join(present) or 'none'})", column,
                          f"Did you mean {' or '.join(near)}?" if near else "Leave it out.")


def _sources(source: str | Path, skipped: list[str]) -> Iterator[tuple[str, Callable[[], Opened]]]:
    if not isinstance(source, str | Path) or not str(source).strip():
        raise refusal("data", "the path of a file or folder, or the name of a hub data set", source,
                      "Records that you have in a list are read already.")
    path = Path(source).expanduser()
    if path.is_dir():
        yield from _folder(path, skipped)
    elif path.is_file():
        yield path.name, partial(open_rows, path)
    elif _HUB_NAME.fullmatch(str(source)) and path.suffix.lower() not in SUFFIXES:
        yield str(source), partial(_from_hub, str(source))
    else:
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        raise refusal("data", 'an existing file or folder, or a hub name such as "owner/name"', str(source),
                      f"Did you mean {' or '.join(near)}?" if near else "Check the path.")


def _folder(folder: Path, skipped: list[str]) -> Iterator[tuple[str, Callable[[], Opened]]]:
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != REJECTED)
    inside = [path for path in inside
              if not any(part.startswith((".", "~$")) for part in path.relative_to(folder).parts)]
    inside = [path for path in inside
              if path.name not in _BESIDE_TRAIN or path.with_name("train.jsonl") not in inside]
    known = [path for path in inside if path.suffix.lower() in SUFFIXES]
    skipped += [path.relative_to(folder).as_posix() for path in inside if path not in known]
    if not known:
        raise refusal("data", f"a folder with files that end in {', '.join(SUFFIXES)}",
                      skipped[:5] or "an empty folder", "Give the folder that holds them.")
    for path in known:
        name = path.relative_to(folder).as_posix()
        yield name, partial(open_rows, path, name)


def _from_hub(name: str) -> Opened:
    from ftkit.hub import load_dataset_records

    rows = load_dataset_records(name, "train")
    content = json.dumps(rows, ensure_ascii=False, sort_keys=True, default=str)
    numbered = (Row(number, row) for number, row in enumerate(rows, start=1))
    return Opened(numbered, "hub", None, hashlib.sha256(content.encode()).hexdigest())


def _set_aside(folder: Path, rows: list[dict]) -> None:
    """Writes the bad rows; an older file of that name goes, so that it never speaks of another run."""
    lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
    # half characters come out as the \\u escapes that JSON writes them with
    write_atomic(folder / REJECTED, "".join(lines).encode("utf-8", errors="backslashreplace"))


def _kind(row: dict) -> str:
    return re.sub(r", got .*", "", row["reason"], flags=re.DOTALL)
