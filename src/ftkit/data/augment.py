"""New records out of old ones: the question said in another way, the answer as it was.

Every way is a function of a text and a random generator. None of them knows what the text means: whether the new
question still asks the same is for the one who chose the templates and the synonyms to see to, by reading some.
"""

import random
import re
import string
from collections.abc import Callable, Mapping, Sequence

from ftkit.data.records import placed, question_and_answer
from ftkit.errors import refusal

Way = Callable[[str, random.Random], str]
_MARKS = {"？": "?", "?": "？", "，": ",", ",": "，", "。": ".", "！": "!", "!": "！"}
_CHINESE = re.compile("[\u3400-\u9fff]")


def augment(records: list[dict], ways: Mapping[str, Way], copies: int = 1, seed: int = 0) -> list[dict]:
    """The records, and behind them for each up to so many new ones, each with its question changed in one of the ways.

    A new record says under `from` which place it came from and under `how` which way made it. Where a way changes
    nothing, or makes a question that is already there, no record is added. Hold data out before augmenting: a question
    and its paraphrase belong on one side.

    Args:
        records: with an `instruction`, which is changed, or else its `input` where there is one (the question itself,
            under an instruction that many share); or with `messages`, whose last user turn is changed.
        ways: functions of a text and a generator, by name; see this module's others.
        copies: attempts for each record, 1 or more, each with a way drawn by lot.
        seed: of the draws.

    Raises:
        Refusal: no ways, or fewer than one copy.

    Example:
        >>> ways = {"asked politely": templates(["Please tell me: {}"])}
        >>> new = augment([{"instruction": "What is asthma?", "output": "A disease of the airways."}], ways)[1]
        >>> new["instruction"], new["from"], new["how"]
        ('Please tell me: What is asthma?', 0, 'asked politely')

    Taught in: 03_data
    """
    if not isinstance(ways, Mapping) or not ways:
        raise refusal("ways", "functions by name", ways, 'Give for example {"typos": typos(0.02)}.')
    if copies < 1:
        raise refusal("copies", "1 or more", copies, "1 adds at most one new record for each.")
    generator = random.Random(seed)
    records, new = placed(records), []
    known = {question_and_answer(record)[0] for record in records}
    for record in records:
        for _ in range(copies):
            how = generator.choice(sorted(ways))
            text = ways[how](_question(record), generator)
            old = {key: value for key, value in record.items() if key != "place"}
            asking = _asking(old, text) if text.strip() else record
            whole = question_and_answer(asking)[0]
            if whole not in known:
                known.add(whole)
                new.append(asking | {"from": record["place"], "how": how})
    return records + new


def templates(patterns: Sequence[str]) -> Way:
    """A way that puts the question in one of the patterns, in place of `{}`.

    Raises:
        Refusal: a pattern does not hold `{}` once.

    Taught in: 03_data
    """
    for pattern in patterns or [""]:
        if pattern.count("{}") != 1:
            raise refusal("patterns", "texts with {} once, where the question goes", pattern)
    return lambda text, generator: generator.choice(patterns).replace("{}", text)


def synonyms(table: Mapping[str, Sequence[str]]) -> Way:
    """A way that replaces each word of the table by one of its synonyms, by lot; the word itself may win, too.

    Words in Latin letters are replaced as whole words, whatever their case; Chinese ones wherever they stand, the
    longest first.

    Raises:
        Refusal: an empty table, or a word without synonyms.

    Example:
        >>> synonyms({"发烧": ["发热"]})("发烧了怎么办？", random.Random(0))
        '发热了怎么办？'

    Taught in: 03_data
    """
    if not table or any(isinstance(others, str) or not others for others in table.values()):
        raise refusal("table", 'words with a list of synonyms each, such as {"fever": ["high temperature"]}', table)
    words = {word.casefold(): (word, *others) for word, others in table.items()}
    either = "|".join(re.escape(word) if _CHINESE.search(word) else rf"\b{re.escape(word)}\b"
                      for word in sorted(table, key=len, reverse=True))

    def way(text: str, generator: random.Random) -> str:
        return re.sub(either, lambda match: generator.choice(words[match[0].casefold()]), text, flags=re.IGNORECASE)

    return way


def typos(rate: float = 0.03) -> Way:
    """A way that swaps, drops or doubles a letter or Chinese character here and there; digits are never touched.

    Args:
        rate: the share of letters that something happens to, above 0 and at most 1.

    Raises:
        Refusal: the rate is out of range.

    Taught in: 03_data
    """
    if not 0 < rate <= 1:
        raise refusal("rate", "above 0 and at most 1", rate, "0.03 changes about one letter in thirty.")

    def way(text: str, generator: random.Random) -> str:
        letters, at = list(text), 0
        while at < len(letters):
            if letters[at].isalpha() and generator.random() < rate:
                kind, after = generator.choice(("swap", "drop", "double")), at + 1
                if kind == "swap" and after < len(letters) and letters[after].isalpha():
                    letters[at], letters[after] = letters[after], letters[at]
                elif kind == "drop":
                    letters[at] = ""
                else:
                    letters[at] *= 2
                at += 1
            at += 1
        return "".join(letters)

    return way


def punctuation() -> Way:
    """A way that writes some marks in the other width (？ and ?), or leaves out the last one.

    Taught in: 03_data
    """
    def way(text: str, generator: random.Random) -> str:
        changed = "".join(_MARKS.get(sign, sign) if generator.random() < 0.5 else sign for sign in text)
        last = changed.rstrip()[-1:]
        return changed.rstrip()[:-1] if last in {*string.punctuation, *_MARKS} and generator.random() < 0.5 else changed

    return way


def case() -> Way:
    """A way that writes the whole question in small letters or in capitals; Chinese stays as it is.

    Taught in: 03_data
    """
    return lambda text, generator: generator.choice((str.lower, str.upper))(text)


def through(function: Callable[[str], str]) -> Way:
    """A way that is a plain function of the text: a translation there and back, or a model that paraphrases.

    Example:
        >>> through(str.swapcase)("What is asthma?", random.Random(0))
        'wHAT IS ASTHMA?'

    Taught in: 03_data
    """
    return lambda text, generator: function(text)


def _question(record: dict) -> str:
    if record.get("messages"):
        return record["messages"][_last_user(record["messages"])]["content"]
    if not isinstance(record.get("instruction"), str):
        raise refusal("record", "one with an instruction or with messages", sorted(record))
    return record.get("input") or record["instruction"]


def _asking(record: dict, text: str) -> dict:
    if not record.get("messages"):
        return {**record, "input" if record.get("input") else "instruction": text}
    place = _last_user(record["messages"])
    return {**record, "messages": [{**turn, "content": text} if number == place else turn
                                   for number, turn in enumerate(record["messages"])]}


def _last_user(messages: list[dict]) -> int:
    return max(number for number, turn in enumerate(messages) if turn["role"] == "user")
