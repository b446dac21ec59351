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
    record is at hand; `refused` says why a record could not be encoded at all.
    """

    ids: np.ndarray
    labels: np.ndarray
    real: np.ndarray | None = None
    whole: chat.Example | None = None
    refused: str = ""

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
            or records, which are encoded here.
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
    return [row._replace(whole=_encoded(record, tokenizer, None).whole)
            for row, record in zip(rows, records, strict=True)]


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
        return "input_ids" not in data and bool({"messages", "instruction"} & set(data))
    return isinstance(data, list) and bool(data) and isinstance(data[0], Mapping) and "role" in data[0]


def _is_pair(data: Any) -> bool:
    return (isinstance(data, tuple | list) and len(data) == 2
            and all(np.ndim(part) == 1 and not isinstance(part, Mapping) and (not len(part) or _is_number(part[0]))
                    for part in data if hasattr(part, "__len__"))
            and all(hasattr(part, "__len__") and not isinstance(part, str | Mapping) for part in data))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (hasattr(value, "ndim") and value.ndim == 0)


def _of_mapping(data: Mapping) -> Iterator[Row]:
    columns = {name: _lists(data[name]) for name in ("input_ids", "labels", "attention_mask", *_MASKS)
               if data.get(name) is not None}
    masks = [name for name in _MASKS if name in columns]
    if "labels" not in columns and not masks:
        raise refusal("data", f"input_ids with labels, {' or '.join(_MASKS)}", ", ".join(map(str, data)),
                      "Without them every token is trained: pass what the data collator returns.")
    batched = bool(columns["input_ids"]) and not _is_number(columns["input_ids"][0])
    for place in range(len(columns["input_ids"])) if batched else [None]:
        one = {name: column if place is None else column[place] for name, column in columns.items()}
        ids, labels = one["input_ids"], one.get("labels")
        if labels is None:
            labels = np.where(np.all([one[name] for name in masks], axis=0), ids, IGNORED)
        yield _checked(ids, labels, one.get("attention_mask"))


def _checked(ids: Any, labels: Any, attention: Any = None) -> Row:
    ids, labels = (np.asarray(_lists(column), dtype=np.int64) for column in (ids, labels))
    if ids.shape != labels.shape or ids.ndim != 1:
        raise refusal("a row of the data", "token ids and as many labels", f"{ids.size} ids and {labels.size} labels",
                      "Labels stand at their own token, -100 where there is no loss.")
    return Row(ids, labels, None if attention is None or np.ndim(attention) != 1 else np.asarray(attention) != 0)


def _lists(column: Any) -> Any:
    return column.tolist() if hasattr(column, "tolist") else column


def _encoded(record: Any, tokenizer, seq_len: int | None) -> Row:
    try:
        whole = chat.encode(record, tokenizer)
    except Refusal as error:
        nothing = np.zeros(0, dtype=np.int64)
        return Row(nothing, nothing, refused=str(error))
    ids, labels = (np.asarray(column[:seq_len], dtype=np.int64) for column in whole)
    return Row(ids, labels, whole=whole)
