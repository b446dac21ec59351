"""Which column plays which part, and one row's columns to one record.

Knows nothing about files: it sees column names and one row as a dictionary.
"""

import ast
import json
import re
import unicodedata
from typing import NamedTuple

from ftkit.chat import check_messages, messages_of
from ftkit.data.turns import messages_from
from ftkit.errors import Refusal, nearest, refusal, unknown

PARTS = ("instruction", "input", "output", "system", "history", "messages", "conversations", "text")
# The usual names of each part, compared without case, spaces, dashes and underscores
NAMES = {
    "instruction": ("instruction", "prompt", "question", "query", "ask", "q", "human", "user", "user input",
                    "user query", "question text", "指令", "指示", "提示", "提示词", "问题", "提问", "问", "问句",
                    "题目", "用户", "用户问题", "用户提问", "问题描述", "问题内容", "咨询", "咨询内容",
                    "患者提问",
                    "问诊", "問題", "提問", "題目"),
    "output": ("output", "completion", "answer", "answers", "response", "reply", "a", "assistant", "bot",
               "model output", "answer text", "model response", "target", "输出", "回答", "答案", "答", "答复", "回复",
               "响应", "助手", "标准答案", "参考答案", "回答内容", "医生回答", "医生回复", "輸出", "回覆"),
    "input": ("input", "输入", "輸入", "补充", "context", "上下文", "背景", "材料"),
    "system": ("system", "system prompt", "系统", "系统提示", "系统提示词", "系統"),
    "history": ("history", "历史", "历史对话"),
    "messages": ("messages", "dialogue", "dialog", "chat", "对话", "多轮对话", "消息", "對話"),
    "conversations": ("conversations", "conversation"),
    "text": ("text", "content", "文本", "内容", "正文", "文章", "passage", "document", "body", "raw text", "內容"),
}
_BESIDE_INSTRUCTION = ("input", "输入", "輸入", "补充")  # beside a "question" a column "input" is something else
_LABELS = ("label", "labels", "class", "category", "target", "tag", "标签", "类别", "分类")
_OPTIONAL = ("input", "system")
_TALKS = {re.sub(r"[ _-]", "", name) for part in ("messages", "conversations", "history") for name in NAMES[part]}
_HALVES = re.compile("[\ud800-\udfff]")
_SHOW = ('Say which with columns="instruction=<column>,output=<column>", columns="messages=<column>", or '
         'columns="text=<column>".')


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
    if "text" in mapping:
        text = _text(row, mapping["text"], optional=False)
        return text if isinstance(text, Problem) else {"text": text}
    if isinstance(row.get(mapping["instruction"]), list):
        return _in_two_halves(row, mapping)
    record = {}
    for part in ("instruction", "input", "output", "system"):
        value = _text(row, mapping.get(part), optional=part in _OPTIONAL)
        if isinstance(value, Problem):
            return value
        if part != "system" or value:
            record[part] = value
    return _with_history(row, mapping, record) if row.get(mapping.get("history")) else record


def is_record(row: dict) -> bool:
    """Whether an object is a record by the usual names of its columns, whatever lists it holds beside them.

    Example:
        >>> is_record({"question": "q", "answer": "a", "sources": [{"id": 1}]}), is_record({"data": [{"id": 1}]})
        (True, False)
    """
    try:
        return not isinstance(record_of(row, mapping_of(None, list(row))), Problem)
    except Refusal:
        return False


def is_talk(column: str) -> bool:
    """Whether a column holds a conversation, by its name."""
    return _plain(column) in _TALKS


def _by_name(present: list[str], name: str) -> dict[str, str]:
    plain = {_plain(column): column for column in reversed(present)}
    found = {part: [plain[_plain(usual)] for usual in NAMES[part] if _plain(usual) in plain] for part in NAMES}
    asked, told = found["instruction"], found["output"]
    if not (asked and told) and found["input"][:1] and (told and not asked):
        asked, found["input"] = found["input"], []
    pairs = [f"{one}/{other}" for one in asked for other in told]
    known = pairs + found["messages"] + found["conversations"]
    listed = ", ".join(map(str, present)) or "(none)"
    if len(known) > 1:
        raise refusal(f"{name}: columns", "of one known kind", listed, f"There are {' and '.join(known)}. {_SHOW}")
    if not known:
        if found["text"] and not asked and not told and not any(_plain(label) in plain for label in _LABELS):
            return _text_alone(found["text"], name, listed)
        raise refusal(f"{name}: columns", "one of instruction/output, prompt/completion, question/answer, 问题/回答, "
                      "messages, conversations, text", listed, _SHOW)
    # The optional ones are looked up in every row: a column may first appear far down in a JSON Lines file.
    optional = {part: (found[part] or [part])[0] for part in _OPTIONAL}
    optional["history"] = (found["history"] or ["history"])[0]
    if not pairs:
        part = "messages" if found["messages"] else "conversations"
        return {part: known[0], "system": optional["system"]}
    if _plain(asked[0]) not in ("instruction", "指令", "指示"):
        beside = [column for column in found["input"] if _plain(column) not in _BESIDE_INSTRUCTION]
        optional["input"] = beside[0] if beside else None
    return {"instruction": asked[0], "output": told[0]} | {part: column for part, column in optional.items() if column}


def _text_alone(columns: list[str], name: str, listed: str) -> dict[str, str]:
    if len(columns) > 1:
        raise refusal(f"{name}: columns", "ones with one text", listed, f"There are {' and '.join(columns)}. {_SHOW}")
    return {"text": columns[0]}


def _plain(column: object) -> str:
    """A column's name without what differs from file to file."""
    return re.sub(r"[\s_\-\u200b\ufeff]", "", unicodedata.normalize("NFKC", str(column))).casefold()


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
    talks = [part for part in ("messages", "conversations", "text") if part in mapping]
    if len(talks) > 1 or (talks and not set(mapping) <= {*talks, "system"}) or {"text", "system"} <= set(mapping):
        raise refusal("columns", "either a conversation or instruction and output, or a text alone", columns,
                      "Keep one of them.")
    if not talks and not {"instruction", "output"} <= set(mapping):
        raise refusal("columns", "complete: instruction and output, or messages, or conversations, or text",
                      columns, _SHOW)
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
        turns = _parsed(turns) if isinstance(turns, str) else turns  # a CSV cell holds it as text
        messages = messages_from(turns) if isinstance(turns, list) and turns else turns
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


def _parsed(text: str) -> object:
    """A cell's JSON; or a Python list, as pandas writes it into a CSV file."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, ValueError, MemoryError):
            pass
        raise


def _in_two_halves(row: dict, mapping: dict[str, str]) -> dict | Problem:
    """A prompt that is a list of messages, and its completion, a list of them or a text."""
    column, told = mapping["instruction"], row.get(mapping["output"])
    told = told if isinstance(told, list) else [{"role": "assistant", "content": told}]
    return _joined(row, mapping, column, [*row[column], *told])


def _with_history(row: dict, mapping: dict[str, str], record: dict) -> dict | Problem:
    """The turns before, as pairs of question and answer, and the record as the last of them."""
    column = mapping["history"]
    history = row[column]
    try:
        history = _parsed(history) if isinstance(history, str) else history
    except (ValueError, RecursionError) as error:
        return Problem(column, f"{column} is not JSON: {error}")
    if not isinstance(history, list):
        return Problem(column, str(refusal(column, "a list of pairs of question and answer, or of turns", history)))
    now = [message for message in messages_of(record) if message["role"] != "system"]
    return _joined(row, mapping, column, [*history, *now]) if history else record


def _joined(row: dict, mapping: dict[str, str], column: str, turns: list) -> dict | Problem:
    """The turns that two columns hold together, as the conversation of one of them."""
    system = {part: mapping[part] for part in ("system",) if part in mapping}
    return _conversation({**row, column: turns}, {"messages": column} | system, "messages")


def _half_character(text: str) -> bool:
    """Whether the text cannot be written as UTF-8: JSON may spell out one half of a pair alone."""
    return not text.isascii() and _HALVES.search(text) is not None
