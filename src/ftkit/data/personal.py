"""Personal data in running text, Chinese and English: found, and replaced by what kind of thing stood there.

Phone numbers, e-mail addresses, resident ids, bank cards and the numbers of chat programs have a form, and are found by
it. Names, postal addresses, dates of birth and everything else that only a reader recognises are NOT found; how much is
missed is measured on `labelled.labelled()`. Left alone on purpose: numbers of orders, prices, the 400 numbers of
businesses, emergency numbers, and ids and cards whose check digit is wrong.

The recognisers are ours, because the stock ones look for word boundaries that Chinese has none of; they run inside
presidio's analyzer, and presidio's anonymizer replaces what they find. No model and no network is needed.
"""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from ftkit.data.records import placed, with_texts
from ftkit.data.reports import StepReport
from ftkit.data.workers import Workers
from ftkit.errors import unknown

_SEP = r"[ .·_\-–—]{1,3}"
_MAINLAND = r"(?:\(?(?:\+|00)?86\)?[ \-]{0,2}|0)?"
# what a number is when it stands behind one of these; Chinese says so with 号, English with "order" and the like
_NOT_A_PHONE = (r"(?<!(?:单|编|流水|批|序列|货|发票|合同|工|学|案|档案)号码?[是为]?[\s:#]{0,3})"
                r"(?<!\b(?:order|invoice|tracking|parcel|serial|sku|item|ref|reference|ticket|case|batch|isbn)"
                r"(?:\s?(?:no\.?|number|id|code))?(?:\sis)?[\s:#]{0,3})")
_NOT_A_PRICE = r"(?<![¥￥$€£]\s?)(?<!\d{3}\.)(?<!(?<!\d)0\.)(?!14159265358)"  # 1.138… is a list
_NO_MORE = r"(?!\d)(?!\.\d)(?!,\d{3}(?!\d))(?!\s?(?:元|块钱|万元|yuan|rmb|dollars))"
_NUMERAL = "[0-9零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖]"
_AREA = r"(?:10|2\d|[3-9]\d\d)"
_CALLED = r"(?<=(?:电话|座机|固话|传真|tel|phone|fax)(?:号码?)?[是为]?[\s:.]{0,3})"
_CHAT = r"(?:QQ|扣扣|微信|wechat|weixin|(?<![a-z])[vw]x|加v)群?"
PATTERNS = {
    "RESIDENT_ID": (
        r"(?<!\d)[1-9]\d{5}[ \-]?(?:18|19|20)\d\d[ \-]?[01]\d[ \-]?[0-3]\d[ \-]?\d{3}[ \-]?[\dX](?!\d)",
        r"(?<=身份证(?:号码?)?[是为]?[\s:]{0,3})[1-9]\d{7}[01]\d[0-3]\d{4}(?!\d)"),  # of 15 digits, until 1999
    "EMAIL": (
        # not from the phone number on that an address may follow without a space, but 13812345678@163.com is one
        r"(?<![a-z0-9._%+\-])(?!(?:\+?86)?1[3-9]\d{9}[a-z_])[a-z0-9._%+\-]+@(?:[a-z0-9\-]+\.)+[a-z]{2,24}",
        r"(?<=(?<!\d)(?:\+?86)?1[3-9]\d{9})[a-z_][a-z0-9._%+\-]*@(?:[a-z0-9\-]+\.)+[a-z]{2,24}"),
    "BANK_CARD": (_NOT_A_PHONE + r"(?<!\d)[2-6]\d{3}(?:[ \-]?\d){9,15}(?!\d)",),
    "PHONE": (
        _NOT_A_PHONE + _NOT_A_PRICE + rf"(?<!\d){_MAINLAND}1[3-9]\d{{9}}(?!@){_NO_MORE}",
        *(rf"(?<!\d)(?<!\d[ \-.]){_MAINLAND}1[3-9]{grouped}(?!@){_NO_MORE}(?![ \-]\d)" for grouped in (
            rf"\d{_SEP}\d{{4}}{_SEP}\d{{4}}", rf"\d\d{_SEP}\d{{3}}{_SEP}\d{{4}}", rf"\d\d{_SEP}\d{{4}}{_SEP}\d{{3}}",
            rf"\d{_SEP}\d{{3}}{_SEP}\d{{5}}", rf"\d{_SEP}\d{{8}}", rf"\d{{5}}{_SEP}\d{{4}}",
            rf"\d{{3}}{_SEP}\d{{6}}")),
        rf"(?<!{_NUMERAL})(?!\d{{11}})[1一幺壹][3-9三四五六七八九叁肆伍陆柒捌玖]{_NUMERAL}{{9}}(?!{_NUMERAL}|@|[.,]\d)",
        r"(?<!\d)(?<!\d )1 [3-9](?: \d){9}(?! ?\d)",
        rf"(?<!\d)(?<!\d-)(?:\(0{_AREA}\)[ \-]?|0{_AREA}[ \-–—]{{1,3}})[1-9]\d{{2,3}}[ \-]?\d{{4}}(?!\d)"
        r"(?:\s?(?:转|-|ext\.?)\s?\d{1,6}(?!\d))?",
        rf"(?<!\d)(?:\+|00)86[ \-]?\(?0?{_AREA}\)?[ \-]?[1-9]\d{{2,3}}[ \-]?\d{{4}}(?!\d)",
        rf"{_CALLED}0{_AREA}[2-9]\d{{6,7}}(?!\d)", rf"{_CALLED}[2-8]\d{{2,3}}[ \-]?\d{{4}}(?![\d\-])",
        r"(?<![\d\-])(?:\+?1[ .\-])?(?![48]00)(?:\([2-9]\d\d\) ?|[2-9]\d\d[.\-])[2-9]\d\d[ .\-]\d{4}(?![\d\-])",
        r"(?<!\d)\+(?!86)[1-9]\d{0,2}[ \-]?(?:\(?\d{1,4}\)?[ \-]?){2,4}\d{2,4}(?!\d)"),
    "CHAT_ID": (rf"(?<={_CHAT}(?:号码?|\s?id|\s?number)?(?:[是为]|\sis\s)?[\s:]{{0,3}})[1-9]\d{{4,11}}(?!\d)",
                rf"(?<={_CHAT}(?:号码?[是为]?|\s?id)?(?:\s?:\s?|号|\sid\s|\sis\s))[a-z][a-z0-9_\-]{{5,19}}",
                rf"(?<={_CHAT}(?:号码?)?\s?)[a-z](?=[a-z\-]*[\d_])[a-z0-9_\-]{{5,19}}"),
}
KINDS = tuple(PATTERNS)  # where two of them claim the same place, the earlier has it
_WIDTHS = {**{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}, 0x3000: " ", 0xA0: " ", 0x2011: "-", 0x2212: "-"}
_HINT = re.compile(rf"@|\d[^\w]{{0,3}}\d[^\w]{{0,3}}\d[^\w]{{0,3}}\d|(?i:QQ|扣扣|微信|wechat|weixin|vx|wx|加v)|"
                   rf"{_NUMERAL}{{11}}")  # a text without any of these holds nothing that is looked for
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
        records: any; every text in them is searched.
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

    return with_texts(record, replace), counts


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
