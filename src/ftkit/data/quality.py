"""Records that teach nothing or teach wrong: each rule one threshold, each dropped record with the rule and its value.

Rules look at form alone. Whether an answer is true is beyond them, and short answers are no fault: "yes" can be right.
"""

import re
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import NamedTuple

from ftkit.data.duplicates import jaccard, shingles
from ftkit.data.records import placed, question_and_answer
from ftkit.data.reports import Dropped, StepReport
from ftkit.data.workers import Workers
from ftkit.errors import refusal

_PIECE = 5  # characters of what is looked for again
_FEWEST = 20  # characters before a share means anything
_SHORTEST_ECHO = 10  # letters: a greeting may be answered by itself
_SIGN = re.compile(r"[\W_]")
_ORDINARY = re.compile(r"[\w\s，。！？：；、（）《》“”‘’…—·,.!?:;()\[\]{}<>'\"/%+=*&#$@~^|\\`-]")
_REPLACED = re.compile("\ufffd|锟斤拷|烫烫烫")
_PLACEHOLDER = re.compile(r"n/?a|nan|null|none|nil|undefined|todo|tbd|test|#(?:n/a|ref!|value!|name\?|div/0!)|"
                          r"[.。…?？-]+|暂无|待补充|略|见图|同上", re.IGNORECASE)
_CJK = re.compile("[\u3400-\u9fff]")
_OTHER_CJK = re.compile("[\u3040-\u30ff\uac00-\ud7af]")
_LATIN = re.compile(r"[A-Za-z][a-z]+")  # not abbreviations
# the 243 letter pairs that make up 97 % of those in the docstrings of Python 3.11's standard library: a letter, and
# what may follow it
_FOLLOWS = ("abcdgiklmnprstuvy baceijlosuy cacehiklortu dacdeilorsu eacdefgilmnpqrstvwxy faefiloru geilnrsu haeior "
            "iabcdefglmnoprstvxz je ke ladefilostuy mabeimopu nacdefgiklnostuvy obcdfgilmnoprstuvw paeiloprtuy qu "
            "racdefgikmnorstuvy sacehiopstuy tacehiloprstuwy uabceilmnprst vaei waehior xaceipt yopst ze")
_PAIRS = frozenset(letters[0] + follower for letters in _FOLLOWS.split() for follower in letters[1:])
_CHINESE = frozenset({"zh", "wuu", "yue", "lzh", "gan", "hak", "nan"})


@dataclass(frozen=True)
class Limits:
    """The threshold of each rule. Lengths are in characters, signs and spaces not counted; shares are between 0 and 1.

    `longest_answer` and `longest_question` are generous: cut to fit is a matter of `seq_len`. `repetition` is the share
    of five-character pieces of the answer that have stood in it before; `gibberish` the share of letter pairs, or of
    Chinese characters, that ordinary text hardly has; `signs` the share of characters that are neither letters, digits
    nor usual punctuation; `echo` the similarity of answer and question; `replacements` how many replacement characters
    there may be; `languages` what py3langid may take the whole for, asked from `language_from` letters on and believed
    from `language_sure` on; a question in one of them may be answered in any. An empty `languages` allows all.
    """

    shortest_question: int = 1
    longest_question: int = 20_000
    shortest_answer: int = 1
    longest_answer: int = 20_000
    repetition: float = 0.6
    gibberish: float = 0.5
    signs: float = 0.3
    echo: float = 0.95
    replacements: int = 0
    languages: tuple[str, ...] = ("en", "zh")
    language_from: int = 40
    language_sure: float = 0.9

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float)
                                               or not value >= 0):
                raise refusal(field.name, "a number of 0 or more", value)
            if field.type is float and value > 1:
                raise refusal(field.name, "a share between 0 and 1", value)
        if isinstance(self.languages, str) or not all(isinstance(code, str) for code in self.languages):
            raise refusal("languages", 'a list of codes such as ("en", "zh")', self.languages)


class Fault(NamedTuple):
    """The rule that a record breaks, and the value that breaks it."""

    rule: str
    value: float | str


def quality(records: list[dict], limits: Limits = Limits(), *,
            workers: Workers | None = None) -> tuple[list[dict], StepReport]:
    """The records that break no rule.

    Args:
        records: any.
        limits: the thresholds; a field may be changed with `Limits(longest_answer=2000)`.
        workers: the pool to do it in; None does it in this process.

    Returns: the records, and a report in which each dropped record's reason is its rule and its value.

    Taught in: 03_data
    """
    records = placed(records)
    if limits.languages:
        _identifier()  # before the processes start, so that each of them has it
    faults = (workers or Workers(1)).map("quality", partial(_fault_of, limits=limits), records)
    kept, dropped = [], []
    for record, fault in zip(records, faults, strict=True):
        if fault is None:
            kept.append(record)
        else:
            value = f"{fault.value:.3g}" if isinstance(fault.value, float) else fault.value
            dropped.append(Dropped(record["place"], f"{fault.rule}: {value}", record))
    return kept, StepReport("quality", len(records), len(kept), 0, dropped)


def fault(question: str, answer: str, limits: Limits = Limits()) -> Fault | None:
    """The first rule that a question and its answer break, or None.

    Args:
        question: all that comes before the answer; empty for a text alone, whose question nothing is asked of.
        answer: what is to be learnt.
        limits: the thresholds.

    Example:
        >>> fault("What is asthma?", "haha haha haha haha haha haha")
        Fault(rule='repetition', value=0.8)
        >>> fault("Is it hot?", "Yes.")

    Taught in: 03_data
    """
    return _by_length(question, answer, limits) or _by_content(question, answer, limits) or _by_language(
        question, answer, limits)


def repetition(text: str) -> float:
    """The share of the text's five-character pieces that have stood in it before; 0 for a short text.

    Example:
        >>> repetition("abcdeabcdeabcdeabcdeabcde")
        0.7619047619047619
    """
    pieces = [text[start:start + _PIECE] for start in range(len(text) - _PIECE + 1)]
    return 1 - len(set(pieces)) / len(pieces) if len(text) >= _FEWEST else 0.0


def gibberish(text: str) -> float:
    """The share of letter pairs that ordinary words hardly have, or of Chinese characters that nobody uses.

    Letter pairs are counted where a text has ten or more, Chinese characters likewise; the larger share is given.
    Common characters in an order that means nothing pass.

    Example:
        >>> gibberish("asdkj qwhkzx zxcvbq hjklqw") > 0.5 > gibberish("Take it with a glass of water.")
        True
    """
    pairs = [word[at:at + 2] for word in map(str.lower, _LATIN.findall(text)) for at in range(len(word) - 1)]
    signs = _CJK.findall(text)
    odd = sum(pair not in _PAIRS for pair in pairs) / len(pairs) if len(pairs) >= 10 else 0.0
    rare = sum(not _common(sign) for sign in signs) / len(signs) if len(signs) >= 10 else 0.0
    return max(odd, rare)


def language(text: str) -> tuple[str, float]:
    """The language that py3langid takes the text for, and how sure it is; all Chinese languages are "zh".

    It is not asked about text of mostly Chinese characters, without Japanese or Korean ones: that is Chinese.

    Example:
        >>> language("Bonjour, comment allez-vous aujourd'hui ?")[0]
        'fr'
    """
    if 2 * len(_CJK.findall(text)) > len(_SIGN.sub("", text)) and not _OTHER_CJK.search(text):
        return "zh", 1.0
    code, share = _identifier().classify(text)
    return ("zh" if code in _CHINESE else code), float(share)


def _fault_of(record: dict, limits: Limits) -> Fault | None:
    return fault(*question_and_answer(record), limits)


def _by_length(question: str, answer: str, limits: Limits) -> Fault | None:
    for what, text in (("question", question), ("answer", answer)):
        if text or what == "answer":
            count = len(_SIGN.sub("", text))
            if count < getattr(limits, f"shortest_{what}"):
                return Fault(f"{what} too short", count)
            if count > getattr(limits, f"longest_{what}"):
                return Fault(f"{what} too long", count)
    return None


def _by_content(question: str, answer: str, limits: Limits) -> Fault | None:
    if _PLACEHOLDER.fullmatch(answer.strip()):
        return Fault("placeholder", answer.strip())
    whole = f"{question}\n{answer}"
    values = {"replacements": len(_REPLACED.findall(whole)), "repetition": repetition(answer),
              "gibberish": gibberish(answer), "signs": _odd_signs(answer)}
    if question:
        values["gibberish"] = max(values["gibberish"], gibberish(question))
        if len(_SIGN.sub("", question)) >= _SHORTEST_ECHO:
            values["echo"] = jaccard(shingles(question), shingles(answer))
    return next((Fault(rule, value) for rule, value in values.items() if value > getattr(limits, rule)), None)


def _by_language(question: str, answer: str, limits: Limits) -> Fault | None:
    """Question and answer are judged together; an answer in another language than the question is a translation."""
    text = f"{question}\n{answer}"
    if not limits.languages or len(_SIGN.sub("", text)) < limits.language_from:
        return None
    code, share = language(text)
    if share < limits.language_sure or code in limits.languages:
        return None
    return None if question.strip() and language(question)[0] in limits.languages else Fault("language", code)


def _odd_signs(text: str) -> float:
    return 1 - len(_ORDINARY.findall(text)) / len(text) if len(text) >= _FEWEST else 0.0


@lru_cache(maxsize=20_000)
def _common(sign: str) -> bool:
    """Whether a Chinese character is in GB 2312, or among the more frequent of Big5."""
    try:
        return bool(sign.encode("gb2312"))
    except UnicodeEncodeError:
        return sign.encode("big5", errors="ignore")[:1] in {bytes([lead]) for lead in range(0xA4, 0xC7)}


@lru_cache(maxsize=1)
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
