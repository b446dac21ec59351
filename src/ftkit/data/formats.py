"""Rows out of one file: JSON, JSON Lines, CSV, TSV or Parquet, told apart by what is in them.

A quote in a CSV file that is opened and never closed takes the lines up to the next quote at a line's end into its
cell, and nothing can tell that from a cell of several lines.

A row is a dictionary with the line it stood on, or the reason why it could not be read. Knows nothing about what the
columns mean but for one question, put to `columns`: whether a lone object is a record or holds a list of them.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ftkit.data.columns import is_record, is_talk
from ftkit.decoding import decode_through
from ftkit.errors import refusal
from ftkit.files import sha256

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
LONGEST_FIELD = 2**31 - 1  # characters; Python's csv stops at 131,072 unless told
_PROBED_LINES = 20
_SKIPPED = re.compile(r"[\s,]*(?:\]\s*$)?")  # between two objects, and the end of their list
_NEXT_OBJECT = re.compile(r"(?<=\n)[ \t]*\{")
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_PACKED = {b"PK\x03\x04": "a zip archive or an Excel workbook", b"\x1f\x8b": "a gzip archive",
           b"BZh": "a bzip2 archive", b"7z\xbc\xaf": "a 7z archive", b"\xfd7zXZ": "an xz archive",
           b"\x28\xb5\x2f\xfd": "a zstd archive",
           b"Rar!": "a rar archive", b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"%PDF": "a PDF file",
           b"version https://git-lfs": "a Git LFS pointer, which stands for a file that was not fetched"}
_SHOWN_BESIDE = 8  # characters before a bad byte, to find it by


class Row(NamedTuple):
    """One row: `line` is its line in the file, or its number from 1 where a format has no lines of its own."""

    line: int
    value: object  # a dictionary, or the raw content where `reason` says why it is not one
    reason: str = ""


class Opened(NamedTuple):
    """A file that is known to be readable, and its rows, read as they are asked for."""

    rows: Iterator[Row]
    format: str
    encoding: str | None
    sha256: str

    def place(self, line: int) -> str:
        """The words for a row's place: a line of the file, or a row where the format has no lines."""
        return f"{'line' if self.format in ('jsonl', 'csv', 'tsv') else 'row'} {line}"


def open_rows(path: str | Path, name: str | None = None) -> Opened:
    """The rows of a data file, whatever its format and encoding.

    Args:
        path: the file.
        name: what to call it in messages; its file name unless given.

    Raises:
        Refusal: the file is missing, empty, packed, in no known encoding or no known format, or broken as a whole.

    Taught in: 03_data
    """
    path = Path(path)
    name = name or path.name
    if not path.is_file():
        raise refusal("data file", "an existing file", str(path), "Check the path.")
    with path.open("rb") as file:
        head = file.read(32)
    for magic, what in _PACKED.items():
        if head.startswith(magic):
            raise refusal(name, "JSON, JSON Lines, CSV, TSV or Parquet", what, "Unpack it, or save it as CSV.")
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return Opened(_parquet_rows(path, name), "parquet", None, sha256(path))
    raw = path.read_bytes()
    text, encoding, fault = decode_through(raw, name)
    text = text.rstrip("\0\x1a")  # what old editors and copying programs put at the end of a file
    if "\n" not in text:
        text = text.replace("\r", "\n")  # the line ends of an old Macintosh
    if not text.strip():
        raise refusal(name, "a file with rows", f"{len(raw)} bytes without text", "Check that it was saved whole.")
    kind, rows = _text_rows(text, path.suffix.lower(), name)
    return Opened(_readable(rows, encoding) if fault else rows, kind, encoding, sha256(raw))


def _readable(rows: Iterator[Row], encoding: str) -> Iterator[Row]:
    """The rows of a file with a few bad bytes: those with any in them are set aside, whatever column it is in."""
    for row in rows:
        content = row.value if isinstance(row.value, str) else json.dumps(row.value, ensure_ascii=False)
        before, bad, _ = content.partition("\ufffd")
        yield row if not bad else Row(row.line, row.value, str(refusal(
            "the row", f"{encoding.partition('-sig')[0].upper()} throughout", f"{before[-_SHOWN_BESIDE:]}\ufffd")))


def _text_rows(text: str, suffix: str, name: str) -> tuple[str, Iterator[Row]]:
    begins = text.lstrip()[0]
    if suffix not in SUFFIXES and begins not in "[{" and "\t" in next(filter(str.strip, _first_lines(text))):
        suffix = ".tsv"  # what spreadsheets call text
    mislabelled = begins in "[{" and (_is_lines(text) or _parse(text)[0] is not None)
    if suffix in (".csv", ".tsv") and not mislabelled:
        return suffix[1:], _csv_rows(text, "\t" if suffix == ".tsv" else None, name)
    if begins != "[" and _is_lines(text):
        return "jsonl", _line_rows(text)
    if begins in "[{" or suffix in SUFFIXES:
        return "json", _json_rows(text, name)
    raise refusal(name, "JSON, JSON Lines, CSV, TSV or Parquet", text.strip()[:40],
                  f"Give it the suffix of what it is: {', '.join(SUFFIXES)}.")


def _is_lines(text: str) -> bool:
    """Whether each line is a record: the first few that hold anything are asked, and one good one is enough."""
    probe = [line for line in _first_lines(text) if line.strip()][:_PROBED_LINES]
    parsed = [isinstance(_parse(line)[0], dict) for line in probe]
    return any(parsed) and (len(probe) > 1 or not _lists_in(_parse(probe[0])[0]))


def _first_lines(text: str) -> Iterator[str]:
    start, found = 0, 0
    while start < len(text) and found < _PROBED_LINES:
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        found += bool(text[start:stop].strip())
        yield text[start:stop]
        start = stop + 1


def _parse(text: str) -> tuple[object, str]:
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        return None, f"not JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested without end
        return None, f"not JSON: {error}"


def _line_rows(text: str) -> Iterator[Row]:
    for line, content in enumerate(io.StringIO(text, newline="\n"), start=1):
        if content.strip():
            value, reason = _parse(content.strip().rstrip(","))
            yield _object_row(line, value, content.rstrip("\r\n"), reason)


def _object_row(line: int, value: object, raw: object, reason: str = "") -> Row:
    if not reason and not isinstance(value, dict):
        reason = "not an object with columns"
    return Row(line, raw, reason) if reason else Row(line, value)


def _json_rows(text: str, name: str) -> Iterator[Row]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        comment = text[error.pos:].lstrip()[:1] in ("/", "#")
        rows = [] if comment else _mended(text)
        if any(not row.reason for row in rows):
            return iter(rows)
        raise refusal(f"{name}, line {error.lineno}, column {error.colno}", "valid JSON",
                      "a comment, which JSON has none of" if comment else error.msg,
                      "Delete the comments." if comment else
                      "A program printed it: write it with json.dumps, which takes double quotes."
                      if text[error.pos:error.pos + 1] == "'" else
                      "Mend that place, or write one record a line (JSON Lines).") from error
    except (ValueError, RecursionError) as error:
        raise refusal(name, "valid JSON", str(error), "Write one record a line (JSON Lines).") from error
    if isinstance(value, dict):
        lists = _lists_in(value)
        if len(lists) > 1:
            raise refusal(name, "a list of records, or an object with one such list", sorted(lists),
                          "Save the one to be used in a file of its own.")
        value = value[lists[0]] if lists else [value]
    if not isinstance(value, list) or not value:
        raise refusal(name, "a list of records", value, "Check that it was saved whole.")
    return (_object_row(number, row, row) for number, row in enumerate(value, start=1))


def _mended(text: str) -> list[Row]:
    """The objects of a broken list, or of several written one after the other; what is between them is a bad row.

    After a fault reading goes on at the next line that begins with an opening brace.
    """
    decoder, rows = json.JSONDecoder(), []
    at = _SKIPPED.match(text, 1 if text.lstrip().startswith("[") else 0).end()
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
            rows.append(_object_row(len(rows) + 1, value, value))
        except (ValueError, RecursionError) as error:
            following = _NEXT_OBJECT.search(text, at + 1)
            end = following.start() if following else len(text)
            what, line = getattr(error, "msg", str(error)), text.count("\n", 0, at) + 1
            rows.append(Row(len(rows) + 1, text[at:end].rstrip(), f"not JSON: {what}, in line {line} or after it"))
        at = _SKIPPED.match(text, end).end()
    return rows


def _lists_in(value: dict) -> list[str]:
    """The keys under which an object holds a list of records; none where it is a record itself, or a conversation."""
    lists = [key for key, inner in value.items() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    return [] if lists and is_record(value) else [key for key in lists if not is_talk(key)]


def _csv_rows(text: str, delimiter: str | None, name: str) -> Iterator[Row]:
    first = next(line for line in _first_lines(text) if line.strip())
    said = _SEP_LINE.fullmatch(first.strip("\r\n"))
    if said:  # Excel's own line before the header, which says what stands between the fields
        delimiter, skipped = said[1], 2
        first = next((line for line in _first_lines(text[text.index(first) + len(first):]) if line.strip()), "")
    else:
        skipped = 1
        bare = re.sub(r'"[^"]*"', "", first)  # a comma between quotes separates nothing
        delimiter = delimiter if delimiter in (None, "\t") and delimiter and delimiter in bare else max(
            ",;\t|", key=bare.count)
    header = _header(first, delimiter, name)
    while header and not header[-1]:  # columns that Excel keeps for cells that once held something
        header.pop()
    named = [column for column in header if column]
    if len(set(named)) < len(named):
        raise refusal(f"{name}: header", "columns with different names", header, "Rename the repeated one.")
    body = itertools.islice(_csv_fields(text, delimiter), skipped, None)
    return (_csv_row(line, fields, reason, header) for line, fields, reason in body)


def _header(line: str, delimiter: str, name: str) -> list[str]:
    try:
        return [column.strip() for column in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
        raise refusal(f"{name}: header", "one line of columns", f"{line[:40]} ({error})",
                      "Save it with one kind of line end.") from error


def _csv_row(line: int, fields: list[str], reason: str, header: list[str]) -> Row:
    if not any(fields[len(header):]):
        fields = fields[:len(header)]
    if not reason and len(fields) != len(header):
        reason = f"{len(fields)} fields where the header has {len(header)}"
    return Row(line, fields, reason) if reason else Row(line, dict(zip(header, fields, strict=True)))


def _csv_fields(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Line, fields and what is wrong; after a bad line reading goes on with the next one.

    A quote that is never closed would otherwise swallow the rest of the file as one field.
    """
    csv.field_size_limit(LONGEST_FIELD)
    lines, at = list(io.StringIO(text, newline="")), 0
    while at < len(lines):
        begin = at
        reader = csv.reader((lines[place] for place in range(begin, len(lines))), delimiter=delimiter, strict=True)
        try:
            for fields in reader:
                if len(fields) > 1 or "".join(fields).strip():  # not a blank line
                    yield at + 1, fields, ""
                at = begin + reader.line_num
        except csv.Error as error:
            yield at + 1, [lines[at].rstrip("\r\n")], f"not {delimiter!r}-separated text: {error}"
            at += 1


def _parquet_rows(path: Path, name: str) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Row(number, row)
    except (pyarrow.ArrowException, OSError) as error:
        raise refusal(name, "a readable Parquet file", str(error), "Write or download it again.") from error
