"""A learner's own exam: questions and the answers that count as right. Knows nothing about how it is sat or scored."""

from pathlib import Path

from ftkit.data.formats import Row, open_rows
from ftkit.errors import refusal

_ACCEPTED = ("accepted", "answers", "answer")


def read_exam(path: str | Path) -> list[dict]:
    """The questions of an exam file, each with the answers that are accepted.

    An exam is refused as a whole when one item is bad: a score over fewer questions would not be the same exam's.

    Args:
        path: JSON, JSON Lines, CSV, TSV or Parquet with a column `question` and a column `accepted` (or `answers`, or
            `answer`): a list of texts, or one text with `|` between them.

    Returns: `{"question": text, "accepted": [text, ...]}` for each, in the file's order.

    Raises:
        Refusal: the sentence names file, line (or row) and field.

    Taught in: 01_why_finetune
    """
    name = Path(path).name
    items, seen = [], {}
    opened = open_rows(path)
    for row in opened.rows:
        place = f"{name}, {opened.place(row.line)}"
        item = _item(row, place)
        first = seen.setdefault(item["question"], row.line)
        if first != row.line:
            raise refusal(f"{place}: question", "asked once", item["question"],
                          f"It is also on {opened.place(first)}: join their accepted answers with |.")
        items.append(item)
    if not items:
        raise refusal(name, "an exam with at least one question", "none", "Add a line for each question.")
    return items


def _item(row: Row, place: str) -> dict:
    if row.reason:
        raise refusal(place, "a readable row", row.reason, "Mend that line.")
    question = row.value.get("question")
    if not isinstance(question, str) or not question.strip():
        raise refusal(f"{place}: question", "text that is not empty", question,
                      f"Columns present: {', '.join(row.value)}.")
    found = next((column for column in _ACCEPTED if row.value.get(column) is not None), None)
    if found is None:
        raise refusal(f"{place}: accepted", "there, as a list of texts or one text with | between answers", "nothing",
                      f"Columns present: {', '.join(row.value)}.")
    value = row.value[found]
    answers = value.split("|") if isinstance(value, str) else value
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise refusal(f"{place}: {found}", "a list of texts, or one text with | between answers", value,
                      "Put numbers in quotes.")
    answers = [answer.strip() for answer in answers if answer.strip()]
    if not answers:
        raise refusal(f"{place}: {found}", "at least one answer", value, "Write the answer that counts as right.")
    return {"question": question.strip(), "accepted": answers}
