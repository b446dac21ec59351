"""What the steps ask of a record: its texts, its question and answer, and its place in the input.

Knows nothing about any one step.
"""

from collections.abc import Callable

from ftkit.chat import messages_of
from ftkit.errors import refusal

FIELDS = ("instruction", "input", "output", "system", "text")


def placed(records: list[dict]) -> list[dict]:
    """The records, each with its place in the input under `place`: its number from 0 unless it has one already.

    Raises:
        Refusal: one of them is no record.

    Example:
        >>> placed([{"text": "a"}, {"text": "b", "place": "x.csv, line 3"}])
        [{'text': 'a', 'place': 0}, {'text': 'b', 'place': 'x.csv, line 3'}]

    Taught in: 03_data
    """
    check_records(records)
    return [record if "place" in record else {**record, "place": number} for number, record in enumerate(records)]


def check_records(records: list[dict]) -> None:
    """Nothing, if each has texts where a record has them; they may be empty.

    Raises:
        Refusal: the sentence names the first that has not, by its number and its place.
    """
    for number, record in enumerate(records):
        fault = _fault(record)
        if fault:
            place = f" ({record['place']})" if isinstance(record, dict) and "place" in record else ""
            raise refusal(f"records[{number}]{place}", f"a record: {fault}", record,
                          "reading.read makes records of the rows of a file.")


def _fault(record: object) -> str:
    """What is not as it must be in a record; nothing if all is."""
    if not isinstance(record, dict):
        return "a dictionary with instruction and output, messages, or text"
    if record.get("messages"):
        turns = record["messages"] if isinstance(record["messages"], list) else [None]
        good = all(isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
                   for turn in turns)
        return "" if good else "messages must be a list of objects with a role and content, both text"
    if not any(isinstance(record.get(field), str) for field in ("instruction", "text")):
        return "a dictionary with instruction and output, messages, or text"
    wrong = [field for field in FIELDS if record.get(field) is not None and not isinstance(record[field], str)]
    return f"{wrong[0]} must be text" if wrong else ""


def with_texts(record: dict, function: Callable[[str], str]) -> dict:
    """The record with the function's result in place of each of its texts; the very same record if none changes.

    Texts are what `FIELDS` names and what each message says; other keys (a place, an id) are left as they are.

    Example:
        >>> with_texts({"instruction": "a", "output": "b", "id": "a"}, str.upper)
        {'instruction': 'A', 'output': 'B', 'id': 'a'}
    """
    new = {field: function(record[field]) for field in FIELDS if isinstance(record.get(field), str)}
    if isinstance(record.get("messages"), list):
        new["messages"] = [{**message, "content": function(message["content"])} for message in record["messages"]]
    return {**record, **new} if any(record[field] != value for field, value in new.items()) else record


def question_and_answer(record: dict) -> tuple[str, str]:
    """All that comes before the last answer, and the last answer; a text alone is an answer to nothing.

    Raises:
        Refusal: the record holds neither a text, nor an instruction, nor messages.

    Example:
        >>> question_and_answer({"instruction": "Add.", "input": "2 3", "output": "5"})
        ('Add.\\n2 3', '5')
        >>> question_and_answer({"text": "A page."})
        ('', 'A page.')

    Taught in: 03_data
    """
    if isinstance(record, dict) and isinstance(record.get("text"), str) and record.get("instruction") is None:
        return "", record["text"]
    messages = messages_of(record)
    answer = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    return "\n".join(message["content"] for message in messages), answer


def compared(record: dict) -> tuple[str, str, str]:
    """What is asked (the input, or the last user turn), what stands before it, and the answer, to compare one by one.

    System turns are left out, and an instruction is apart from its input: what many records share would otherwise make
    all of them alike.

    Raises:
        Refusal: as `question_and_answer`.

    Example:
        >>> compared({"instruction": "Add.", "input": "2 3", "output": "5"})
        ('2 3', 'Add.', '5')
        >>> compared({"instruction": "Add 2 and 3.", "output": "5"})
        ('Add 2 and 3.', '', '5')
    """
    question, answer = question_and_answer(record)
    if isinstance(record.get("instruction"), str) and not record.get("messages"):
        given = record.get("input") or ""
        return given or record["instruction"], record["instruction"] if given else "", answer
    if not record.get("messages"):
        return question, "", answer
    turns = [turn["content"] for turn in messages_of(record) if turn["role"] != "system"]
    asked = turns[:-1] if record["messages"][-1]["role"] == "assistant" else turns
    return asked[-1] if asked else "", "\n".join(asked[:-1]), answer
