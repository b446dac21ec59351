"""Personal data in running text, Chinese and English: found, and replaced by what kind of thing stood there.

Phone numbers, e-mail addresses, resident ids, bank cards and the numbers of chat programs have a form, and are found by
it. Names, postal addresses, dates of birth and everything else that only a reader recognises are NOT found; how much is
missed is measured on `labelled.labelled()`. Left alone on purpose: numbers of orders, prices, amounts with a unit, what
stands in a formula or in the path of a web address, the 400 numbers of businesses, emergency numbers, and ids and cards
whose check digit is wrong. Missed, too: names in chat programs that are a plain word, a local number without "phone" or
an area code before it, most numbers from abroad without a plus, and disguises such as "艾特". Found though it may be
none: eleven decimals behind "1." to "99.", which may be a list, and the code name of a program behind "微信".

The recognisers are ours, because the stock ones look for word boundaries that Chinese has none of; they run inside
presidio's analyzer, and presidio's anonymizer replaces what they find. No model and no network is needed.
"""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from ftkit.data.personal_forms import NUMERAL, PATTERNS
from ftkit.data.records import FIELDS, placed, with_texts
from ftkit.data.reports import StepReport
from ftkit.data.workers import Workers
from ftkit.errors import unknown

KINDS = tuple(PATTERNS)  # where two of them claim the same place, the earlier has it
_WIDTHS = {**{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}, 0x3000: " ", 0xA0: " ", 0x2011: "-", 0x2212: "-"}
_HINT = re.compile(r"@|\d[^\w]{0,3}\d[^\w]{0,3}\d[^\w]{0,3}\d|(?i:QQ|扣扣|企鹅|信|wechat|weixin|[vw]x|加[v薇]|v:)|"
                   rf"{NUMERAL}{{11}}")  # a text without any of these holds nothing that is looked for
_PROVINCES = frozenset("11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 "
                       "71 81 82 83 91".split())
_CARDS = {"4": (13, 16, 19), "5[1-5]": (16,), "2[2-7]": (16,), "3[47]": (15,), "3[068]": (14,), "35": (16,),
          "62": (16, 17, 18, 19), "60": (16, 19)}


class Span(NamedTuple):
    """A piece of a text, from `start` up to and without `end`, and what kind of personal data it is."""

    kind: str
    start: int
    end: int


def personal(records: list[dict], kinds: Sequence[str] = KINDS, *,
             workers: Workers | None = None) -> tuple[list[dict], StepReport]:
    """The records with personal data replaced by `<PHONE>`, `<EMAIL>` and so on; none is dropped.

    Args:
        records: any; every text in them is searched, other fields than those of a question and answer too, but for
            `place` and `id`.
        kinds: what to look for, of `KINDS`.
        workers: the pool to do it in; None does it in this process.

    Returns: the records, and a report whose notes count what was replaced by kind.

    Raises:
        Refusal: an unknown kind.

    Taught in: 03_data
    """
    _check(kinds)
    records = placed(records)
    _analyzer()  # before the processes start, so that each of them has it
    results = list((workers or Workers(1)).map("personal", partial(_one, kinds=tuple(kinds)), records))
    changed = sum(bool(counts) for _, counts in results)
    notes = Counter(kind for _, counts in results for kind in counts)
    return [record for record, _ in results], StepReport("personal", len(records), len(records), changed, (), {
        kind: notes[kind] for kind in kinds if notes[kind]})


def find(text: str, kinds: Sequence[str] = KINDS) -> list[Span]:
    """Where there is personal data in the text, from left to right and without overlap.

    Raises:
        Refusal: an unknown kind.

    Example:
        >>> text = "请联系13812345678zhangsan@example.com谢谢"
        >>> [(span.kind, text[span.start:span.end]) for span in find(text)]
        [('PHONE', '13812345678'), ('EMAIL', 'zhangsan@example.com')]

    Taught in: 03_data
    """
    _check(kinds)
    if not _HINT.search(plain := text.translate(_WIDTHS)):
        return []
    found = _analyzer().analyze(plain, "zh", entities=list(kinds))
    spans = sorted((Span(result.entity_type, result.start, result.end) for result in found),
                   key=lambda span: (KINDS.index(span.kind), span.start - span.end, span.start))
    kept: list[Span] = []
    for span in spans:
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


def scrubbed(text: str, kinds: Sequence[str] = KINDS) -> str:
    """The text with a placeholder for each piece of personal data.

    Raises:
        Refusal: an unknown kind.

    Example:
        >>> scrubbed("身份证11010119000101001X，邮箱a.b@example.com。")
        '身份证11010119000101001X，邮箱<EMAIL>。'

    Taught in: 03_data
    """
    return _replaced(text, find(text, kinds))


def valid_resident_id(text: str) -> bool:
    """Whether an 18-digit resident id has a province, a day of birth that there was, and the right check digit.

    Equation: the digits times 2**17 … 2**0, modulo 11, give 1; X stands for 10.
    Source: GB 11643-1999, check digit after ISO 7064 MOD 11-2

    Example:
        >>> valid_resident_id("110101190001010013"), valid_resident_id("11010119000101001X")
        (False, False)

    Taught in: 03_data
    """
    plain = re.sub(r"[ \-]", "", text).upper()
    if not re.fullmatch(r"\d{17}[\dX]", plain) or plain[:2] not in _PROVINCES:
        return False
    try:
        datetime.date(int(plain[6:10]), int(plain[10:12]), int(plain[12:14]))
    except ValueError:
        return False
    values = [10 if digit == "X" else int(digit) for digit in plain]
    return sum(value * 2 ** (17 - place) for place, value in enumerate(values)) % 11 == 1


def luhn(digits: str) -> bool:
    """Whether the last digit of a card's number is the right one; what is no digit is passed over.

    Equation: from the right, every second digit doubled (less 9 if above 9): all together a multiple of 10.
    Source: ISO/IEC 7812-1, annex B

    Example:
        >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
        (True, False)

    Taught in: 03_data
    """
    values = [int(digit) for digit in re.sub(r"\D", "", digits)][::-1]
    return sum(value if place % 2 == 0 else 2 * value - 9 * (value > 4) for place, value in enumerate(values)) % 10 == 0


def _check(kinds: Sequence[str]) -> None:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in KINDS or isinstance(kinds, str):
            raise unknown("kinds", kind, KINDS, "Give a list of them.")


def _one(record: dict, kinds: tuple[str, ...]) -> tuple[dict, list[str]]:
    counts: list[str] = []

    def replace(text: str) -> str:
        spans = find(text, kinds)
        counts.extend(span.kind for span in spans)
        return _replaced(text, spans) if spans else text

    others = {key: replace(value) for key, value in record.items()
              if isinstance(value, str) and key not in (*FIELDS, "place", "id")}
    record = with_texts(record, replace)
    return (record | others if any(record[key] != value for key, value in others.items()) else record), counts


def _replaced(text: str, spans: list[Span]) -> str:
    from presidio_anonymizer import RecognizerResult

    found = [RecognizerResult(span.kind, span.start, span.end, 1.0) for span in spans]
    return _anonymizer().anonymize(text, found).text if found else text


@lru_cache(maxsize=1)
def _anonymizer():
    from presidio_anonymizer import AnonymizerEngine

    return AnonymizerEngine()  # its default is to put the kind between < and >


@lru_cache(maxsize=1)
def _analyzer():
    from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    recognisers = []
    for kind, patterns in PATTERNS.items():
        recogniser = PatternRecognizer(kind, patterns=[Pattern(kind, regex, 1.0) for regex in patterns],
                                       supported_language="zh")
        recogniser.validate_result = _VALID.get(kind, lambda text: None)
        recognisers.append(recogniser)
    registry = RecognizerRegistry(recognisers, supported_languages=["zh"])
    no_model = NoOpNlpEngine([{"lang_code": "zh", "model_name": "none"}])
    return AnalyzerEngine(registry, no_model, supported_languages=["zh"])


def _valid_id(text: str) -> bool:
    return len(text) == 15 or valid_resident_id(text)


def _valid_card(text: str) -> bool:
    plain = re.sub(r"\D", "", text)
    return luhn(plain) and any(re.match(begin, plain) and len(plain) in lengths for begin, lengths in _CARDS.items())


_VALID = {"RESIDENT_ID": _valid_id, "BANK_CARD": _valid_card}
