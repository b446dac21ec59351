"""Which column plays which part, and one row's columns to one record.

Knows nothing about files: it sees column names and one row as a dictionary.
"""

import json
import re
from typing import NamedTuple

from ftkit.chat import check_messages
from ftkit.errors import Refusal, nearest, refusal, unknown

PARTS = ("instruction", "input", "output", "system", "messages", "conversations")
STYLES = (
    {"instruction": "instruction", "output": "output"},
    {"instruction": "prompt", "output": "completion"},
    {"instruction": "question", "output": "answer"},
    {"messages": "messages"},
    {"conversations": "conversations"},
)
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_OPTIONAL = ("input", "system")
_HALVES = re.compile("[\ud800-\udfff]")
_SHOW = 'Say which with columns="instruction=<column>,output=<column>", or columns="messages=<column>".'


class Problem(NamedTuple):
    """What is wrong with a row, and in which of its columns."""

    field: str
    reason: str


def mapping_of(columns: str | None, present: list[str], name: str = "data") -> dict[str, str]:
    """The column for each part of a record.

    Args:
        columns: None to go by the usual names, or pairs such as "instruction=ask,output=answer".
        present: the columns that the data has.
        name: the file, for messages.

    Returns: part to column; `input` and `system` only where there may be such a column.

    Raises:
        Refusal: no usual name or several are there, a column is not there, or a part is unknown, given twice, or
            missing. The sentence lists the columns present.

    Example:
        >>> mapping_of("instruction=ask,output=answer", ["ask", "answer", "id"])
        {'instruction': 'ask', 'output': 'answer'}

    Taught in: 03_data
    """
    return _by_name(present, name) if columns is None else _by_request(columns, present, name)


def record_of(row: dict, mapping: dict[str, str]) -> dict | Problem:
    """The row as a record (instruction, input, output, and system if given; or messages), or what is wrong with it.

    Example:
        >>> record_of({"ask": "2+3", "answer": 5}, {"instruction": "ask", "output": "answer"})
        Problem(field='answer', reason='answer must be text, got 5.')
    """
    for part in ("messages", "conversations"):
        if part in mapping:
            return _conversation(row, mapping, part)
    record = {}
    for part in ("instruction", "input", "output", "system"):
        value = _text(row, mapping.get(part), optional=part in _OPTIONAL)
        if isinstance(value, Problem):
            return value
        if part != "system" or value:
            record[part] = value
    return record


def _by_name(present: list[str], name: str) -> dict[str, str]:
    plain = {column.strip().casefold(): column for column in reversed(present)}
    found = [style for style in STYLES if all(column in plain for column in style.values())]
    listed = ", ".join(present) or "(none)"
    if len(found) > 1:
        pairs = " and ".join("/".join(style.values()) for style in found)
        raise refusal(f"{name}: columns", "of one known kind", listed, f"There are {pairs}. {_SHOW}")
    if not found:
        kinds = ", ".join("/".join(style.values()) for style in STYLES)
        raise refusal(f"{name}: columns", f"one of {kinds}", listed, _SHOW)
    # The optional ones are looked up in every row: a column may first appear far down in a JSON Lines file.
    optional = [part for part in _OPTIONAL if part == "system" or found[0] == STYLES[0]]
    return {part: plain.get(column, column) for part, column in found[0].items()} | {
        part: plain.get(part, part) for part in optional}


def _by_request(columns: str, present: list[str], name: str) -> dict[str, str]:
    mapping = {}
    for pair in columns.split(","):
        part, sign, column = (piece.strip() for piece in pair.partition("="))
        if not sign or not part or not column:
            raise refusal("columns", 'pairs such as "instruction=ask,output=answer"', columns, _SHOW)
        if part not in PARTS:
            raise unknown("columns", part, PARTS, "The part stands left of the =, the column of the data right of it.")
        if part in mapping:
            raise refusal("columns", "one column for each part", columns, f"{part} is given twice.")
        if column not in present:
            near = nearest(column, present)
            raise refusal(f"columns: {part}", f"a column of {name} ({', '.join(present) or 'none'})", column,
                          f"Did you mean {' or '.join(near)}?" if near else "")
        mapping[part] = column
    talks = [part for part in ("messages", "conversations") if part in mapping]
    if len(talks) > 1 or (talks and not set(mapping) <= {*talks, "system"}):
        raise refusal("columns", "either a conversation or instruction and output", columns, "Keep one of the two.")
    if not talks and not {"instruction", "output"} <= set(mapping):
        raise refusal("columns", "complete: instruction and output, or messages, or conversations", columns, _SHOW)
    return mapping


def _text(row: dict, column: str | None, optional: bool) -> str | Problem:
    value = row.get(column) if column else None
    if optional and value is None:
        return ""
    if column not in row:
        return Problem(column, f"{column} is missing.")
    if not isinstance(value, str):
        return Problem(column, str(refusal(column, "text", value)))
    if not value.strip() and not optional:
        return Problem(column, str(refusal(column, "text that is not empty", value)))
    if _half_character(value):
        return Problem(column, f"{column} holds half of a character (a lone surrogate).")
    return value


def _conversation(row: dict, mapping: dict[str, str], part: str) -> dict | Problem:
    column = mapping[part]
    if column not in row:
        return Problem(column, f"{column} is missing.")
    system = _text(row, mapping.get("system"), optional=True)
    if isinstance(system, Problem):
        return system
    try:
        turns = row[column]
        turns = json.loads(turns) if isinstance(turns, str) else turns  # a CSV cell holds it as text
        messages = [_message(turn) for turn in turns] if isinstance(turns, list) else turns
        if system and isinstance(messages, list):
            messages = [{"role": "system", "content": system}, *messages]
        check_messages(messages)
    except Refusal as error:
        return Problem(column, str(error).replace("messages", column, 1))
    except (ValueError, RecursionError) as error:
        return Problem(column, f"{column} is not JSON: {error}")
    if not any(message["role"] == "assistant" for message in messages):
        return Problem(column, f"{column} has no assistant turn to learn from.")
    if any(_half_character(message["content"]) for message in messages):
        return Problem(column, f"{column} holds half of a character (a lone surrogate).")
    return {"messages": messages}


def _message(turn: object) -> object:
    """A turn as role and content, from either way of writing it; left as it is where it is neither."""
    if not isinstance(turn, dict):
        return turn
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    return {"role": SPEAKERS.get(role, role) if isinstance(role, str) else role, "content": content}


def _half_character(text: str) -> bool:
    """Whether the text cannot be written as UTF-8: JSON may spell out one half of a pair alone."""
    return not text.isascii() and _HALVES.search(text) is not None
