"""Any encoded data to rows of ids, labels and what is real: what our encoder, transformers and trl make, batches too.

Knows nothing about what may be wrong with a row's labels.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ftkit import chat
from ftkit.errors import Refusal, refusal

IGNORED = chat.IGNORED
_MASKS = ("completion_mask", "assistant_masks")  # of trl and transformers: 1 where a token carries loss
_REMEDY = "Pass what chat.encode_all or the collator returns, or records with messages or an instruction."


class Row(NamedTuple):
    """One record's tokens.

    `real` is false on padding, and None where the data do not say; `whole` is the row before it was cut, where the
    record is at hand; `refused` says why a record could not be encoded at all; `text` is true for a record of text
    alone, all of which is to be trained.
    """

    ids: np.ndarray
    labels: np.ndarray
    real: np.ndarray | None = None
    whole: chat.Example | None = None
    refused: str = ""
    text: bool = False

    @property
    def trained(self) -> np.ndarray:
        """Where loss is computed. Nothing stands before the first token that could predict it, so it has none."""
        carries = self.labels != IGNORED
        carries[:1] = False
        return carries


def read(data: Any, tokenizer, records: Iterable | None = None, seq_len: int | None = None) -> list[Row]:
    """The data as rows, in order.

    Args:
        data: one or many, nested as they come: examples (pairs of ids and labels), mappings with `input_ids` and
            `labels` or a mask, single or in batches, padded or not; anything to be iterated over that gives these;
            or records, which are encoded here; one of `{"text"}` is for continued pretraining and trained throughout.
        tokenizer: for records.
        records: what the data were made from, one for each row.
        seq_len: where records are cut once they are encoded.

    Raises:
        Refusal: nothing is there; the data have no ids or no labels; ids and labels are not equally many; there are
            more or fewer records than rows.
    """
    rows = list(_rows(data, tokenizer, seq_len))
    if not rows:
        raise refusal("data", "at least one record", "none")
    if records is None:
        return rows
    records = [records] if _is_record(records) else list(records)
    if len(records) != len(rows):
        raise refusal("records", f"as many as there are rows ({len(rows)})", len(records),
                      "Leave out those that the encoder dropped: report['reasons'] of chat.encode_all names them.")
    made = [_encoded(record, tokenizer, None) for record in records]
    return [row._replace(whole=own.whole, text=own.text) for row, own in zip(rows, made, strict=True)]


def _rows(data: Any, tokenizer, seq_len: int | None) -> Iterator[Row]:
    if _is_record(data):
        yield _encoded(data, tokenizer, seq_len)
    elif isinstance(data, Mapping) and "input_ids" in data:
        yield from _of_mapping(data)
    elif hasattr(data, "input_ids") and hasattr(data, "labels"):  # a batch of ours
        yield from _of_mapping({"input_ids": data.input_ids, "labels": data.labels})
    elif _is_pair(data):
        yield _checked(data[0], data[1])
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        for item in data:
            yield from _rows(item, tokenizer, seq_len)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes | Mapping):
        for place in range(len(data)):  # a data set of torch
            yield from _rows(data[place], tokenizer, seq_len)
    else:
        raise refusal("data", "encoded examples, batches or records", data, _REMEDY)


def _is_record(data: Any) -> bool:
    if isinstance(data, Mapping):
        return "input_ids" not in data and bool({"messages", "instruction", "text"} & set(data))
    return isinstance(data, list) and bool(data) and isinstance(data[0], Mapping) and "role" in data[0]


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(map(_is_column, map(_lists, data)))


def _is_column(part: Any) -> bool:
    return isinstance(part, tuple | list) and (not part or isinstance(part[0], int | np.integer))


def _of_mapping(data: Mapping) -> Iterator[Row]:
    columns = {name: _lists(data[name]) for name in ("input_ids", "labels", "attention_mask", *_MASKS)
               if data.get(name) is not None}
    masks = [name for name in _MASKS if name in columns]
    if "labels" not in columns and not masks:
        raise refusal("data", f"input_ids with labels, {' or '.join(_MASKS)}", ", ".join(map(str, data)),
                      "Without them every token is trained: pass what the data collator returns.")
    given = columns.setdefault("input_ids", ())
    if not isinstance(given, tuple | list) or not given or not isinstance(_lists(given[0]), tuple | list):
        columns = {name: [column] for name, column in columns.items()}  # one row
    many = {name: len(column) for name, column in columns.items()}
    if len(set(many.values())) > 1:
        raise refusal("a batch", "columns of equally many rows", many)
    for place in range(many["input_ids"]):
        one = {name: _whole_numbers(column[place], name) for name, column in columns.items()
               if name != "attention_mask" or np.ndim(column[place]) == 1}  # a mask of pairs says nothing on padding
        for name in masks:
            _check_as_long(one["input_ids"], one[name], name)
        labels = one["labels"] if "labels" in one else np.where(
            np.all([one[name] for name in masks], axis=0), one["input_ids"], IGNORED)
        yield _checked(one["input_ids"], labels, one.get("attention_mask"))


def _checked(ids: Any, labels: Any, attention: np.ndarray | None = None) -> Row:
    ids, labels = _whole_numbers(ids, "input_ids"), _whole_numbers(labels, "labels")
    _check_as_long(ids, labels, "labels")
    if attention is not None:
        _check_as_long(ids, attention, "attention_mask")
    return Row(ids, labels, None if attention is None else attention != 0)


def _check_as_long(ids: np.ndarray, column: np.ndarray, name: str) -> None:
    if len(ids) != len(column):
        raise refusal("a row of the data", f"token ids and as many {name}", f"{len(ids)} ids and {len(column)} {name}",
                      "Labels and masks stand at their own token; a label is -100 where there is no loss.")


def _whole_numbers(column: Any, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(_lists(column))
    except ValueError:  # lists of several lengths
        numbers = np.zeros(())
    kinds = "iubf" if "mask" in name else "iu"
    if numbers.ndim != 1 or numbers.size and numbers.dtype.kind not in kinds:
        raise refusal(f"{name} of a row", "a list of whole numbers", column, _REMEDY)
    return numbers.astype(np.int64)


def _lists(column: Any) -> Any:
    return column.tolist() if hasattr(column, "tolist") else column


def _encoded(record: Any, tokenizer, seq_len: int | None) -> Row:
    if isinstance(record, Mapping) and isinstance(record.get("text"), str) and "instruction" not in record:
        ids = np.asarray(tokenizer(record["text"])["input_ids"][:seq_len], dtype=np.int64)
        return Row(ids, ids, text=True)
    try:
        whole = chat.encode(record, tokenizer)
    except Refusal as error:
        nothing = np.zeros(0, dtype=np.int64)
        return Row(nothing, nothing, refused=str(error))
    ids, labels = (np.asarray(column[:seq_len], dtype=np.int64) for column in whole)
    return Row(ids, labels, whole=whole)
