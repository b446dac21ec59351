"""Readable text out of bytes, whatever their encoding. Knows nothing of what the text means."""

from functools import lru_cache

from ftkit.errors import Refusal, refusal

_BOMS = [(b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")]
_GUESSES = ("cp1252", "gb18030", "big5hkscs", "utf-16-le", "utf-16-be", "cp949", "euc_jp")  # the earlier in a tie
_FOREIGN = {"cp949": "text in EUC-KR", "euc_jp": "text in EUC-JP"}  # known, so as not to be read as Chinese
_FOREIGN_LETTERS = {"cp949": ("\uac00", "\ud7a3", 0.9), "euc_jp": ("\u3041", "\u30fe", 0.3)}  # with their least share
_LEAST_FOREIGN = 6  # letters of that script
_RULE = "text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"
_LEAST_PLAUSIBLE = 0.5
_JUDGED = 5000  # characters beyond ASCII that are looked at
_MOST_BAD = 0.01  # of a text's characters, for it to be of this encoding with a fault in a few places
_COMMON, _RARE = 0.8, -1.0  # what a character speaks for an encoding, where a very frequent one speaks 1
_FREQUENT = frozenset(  # in Chinese of both scripts, in Korean
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种"
    "事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把机十第公此"
    "已工使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体相见被利什二等产或新己制身果加西月话合回特代内信表"
    "化老给世位次度门任常先通教儿原东声提立及比员解水名真论处走各入几口认条平系气题活更别打女变四总何电数安少才结反受目"
    "太量再感做接必场件计管期市直资金指许统区保至形便空决治科五眼书非则听白却光放强即像难且完设式色路记南品告类求据程北"
    "個們來為國這說時會對過發後裡種經麼學現當沒動還進樣開從實無與長機業將兩間問並應頭體見產話給門兒東聲員論處幾認條氣"
    "題別變總電數結場計資許統區決書則聽難設記類據著於"
    "이다는에을의가고하지은도로한기사나어요니습를시있자인정으면서수해")
_SYMBOLS = frozenset("℃℉‰№≤≥≠≈∞√→←↑↓↔■□●○◆◇★☆※αβγδεμω①②③④⑤⑥⑦⑧⑨⑩ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ")  # in Chinese texts
_SIGNS = "±²³¹¼½¾×÷£€§°ºµ©®™«»¿¡•·´\xa0“”‘’–—…†‰"
_BEFORE_A_LETTER = {"°": "CFKNSWE", "º": "CFKNSWE", "µ": "gmlLMsAVWFUIk", "±": "S", **dict.fromkeys("²³¹¼½¾×÷£€§", "")}


def decode(raw: bytes, name: str = "file") -> tuple[str, str]:
    """The text in `raw` and the encoding it had: UTF-8, UTF-16, UTF-32, GB18030, Big5 or Windows-1252.

    A byte-order mark decides; else UTF-8, if all of it is; else the one in which the characters beyond ASCII are most
    like what people write: Chinese characters in common use, most of all the very frequent ones, Latin letters with
    accents beside plain ones, and signs where they stand in such a text, as in 38 °C. One or two Chinese characters
    are too few to tell GB18030 and Big5 apart for certain. Korean and Japanese files are refused. UTF-16 without a
    mark is recognised by the zero bytes of its ASCII half. A text with a few bad bytes is refused, with the
    line of the first: read in another encoding it would turn into other characters and nobody would notice.

    Raises:
        Refusal: no known encoding reads it.

    Example:
        >>> decode("发烧".encode("gb18030")), decode("café crème".encode("cp1252"))
        (('发烧', 'gb18030'), ('café crème', 'cp1252'))
    """
    text, encoding, fault = decode_through(raw, name)
    if fault:
        raise fault
    return text, encoding


def decode_through(raw: bytes, name: str = "file") -> tuple[str, str, Refusal | None]:
    """The text, the encoding as in `decode`, and the refusal of a few bad bytes, in whose place U+FFFD stands then.

    Raises:
        Refusal: no known encoding reads it, or more than a few bytes are bad.

    Example:
        >>> text, encoding, fault = decode_through("发烧，怎么办？多喝水。好".encode()[:-1])
        >>> text[-3:], encoding, fault is None
        ('水。\ufffd', 'utf-8', False)
    """
    encoding = _marked(raw)
    try:
        text = raw.decode(encoding or "utf-8")
        return text.lstrip("\ufeff"), encoding or "utf-8", None
    except UnicodeDecodeError as error:
        first = error
    if not encoding and _damaged(raw, "utf-8"):
        return _spoilt(raw, name, "utf-8", first)
    found = [] if encoding else [_read_as(raw, guess) for guess in _GUESSES]
    best = max(filter(None, found), key=lambda guess: guess[0], default=(0.0, "", ""))
    if best[2] and best[2] not in _FOREIGN:
        return best[1].lstrip("\ufeff"), best[2], None
    if best[2]:
        raise refusal(name, _RULE, _FOREIGN[best[2]], "Save it as UTF-8.")
    for likely in [encoding] if encoding else ["gb18030", "utf-8"]:
        try:
            raw.decode(likely)
        except UnicodeDecodeError as error:
            if _damaged(raw, likely) or likely != "gb18030" and _nearly_good(raw, likely):
                return _spoilt(raw, name, likely, error)
    raise refusal(name, _RULE, raw[:16], "Save it as UTF-8.")


def _marked(raw: bytes) -> str | None:
    """The encoding that a byte-order mark names, or that zero bytes betray."""
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            return encoding
    head = raw[:4096].rstrip(b"\0")  # zeros at the end are no text in any encoding
    if head.count(b"\0") > len(head) // 64:  # text in UTF-8 or GB18030 has none
        even, odd = head[::2].count(b"\0"), head[1::2].count(b"\0")
        return "utf-16-le" if odd >= even else "utf-16-be"
    return None


def _read_as(raw: bytes, encoding: str) -> tuple[float, str, str] | None:
    """How well this encoding fits, and what it reads; None where it reads nothing that people would write."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    weights = _foreign_weights(text, encoding) if encoding in _FOREIGN else _weights(text)
    if not weights or _share(weights) < _LEAST_PLAUSIBLE:
        return None
    return sum(weights) / len(weights), text, encoding


def _foreign_weights(text: str, encoding: str) -> list[float]:
    """As `_weights`, in Korean or Japanese; none where there is too little of that script to tell."""
    first, last, least = _FOREIGN_LETTERS[encoding]
    own = [character for character in text if first <= character <= last]
    if len(own) < max(_LEAST_FOREIGN, least * sum(not character.isascii() for character in text)):
        return []
    return [weight for weight in _weights(text) if weight > 0] + [
        1.0 if character in _FREQUENT or encoding == "euc_jp" else _COMMON for character in own]


def plausibility(text: str) -> float:
    """How much the characters beyond ASCII are like what people write: 1 if all are, -1 if none is.

    Example:
        >>> plausibility("发烧，怎么办？"), plausibility("·¢ÉÕ"), plausibility("crème")
        (1.0, -1.0, 1.0)
    """
    return _share(_weights(text))


def _share(weights: list[float]) -> float:
    return 2 * sum(weight > 0 for weight in weights) / len(weights) - 1 if weights else 1.0


def _weights(text: str) -> list[float]:
    """What each character beyond ASCII speaks for the encoding that gives it."""
    places = [place for place, character in enumerate(text) if not character.isascii()][:_JUDGED]
    return [_weight(text, place) for place in places]


def _weight(text: str, place: int) -> float:
    character = text[place]
    code = ord(character)
    before, after = text[max(place - 1, 0):place], text[place + 1:place + 2]
    if 0x4E00 <= code <= 0x9FFF:  # one alone inside a Latin word is seldom meant
        inside_a_word = before + after and all(other.isascii() and other.isalnum() for other in before + after)
        known = character in _common_chinese()
        return 1.0 if character in _FREQUENT and not inside_a_word else _COMMON if known else _RARE
    if 0x3001 <= code <= 0x301F or 0xFF01 <= code <= 0xFF5E or character in "“”‘’—…·\u3000":
        if code > 0x3000 or any(ord(beside) > 0x2E7F for beside in before + after):
            return 1.0
    if character in _SYMBOLS:
        return _COMMON
    return 1.0 if _is_western(character, before, after) else _RARE


def _is_western(character: str, before: str, after: str) -> bool:
    """Whether a letter with an accent, or a sign, stands as it would in a text of plain letters."""
    beside = before + after
    if character.isalpha() and character not in "ºªµ":  # beside a plain letter, and no capital among small ones
        plain = any(other.isascii() and other.isalpha() for other in beside)
        capital = not character.islower() and (before.islower() or not beside.isascii())
        return ord(character) < 0x250 and plain and not capital and not before.isdigit()
    alone = character >= "\u2010" or all(other.isascii() or other >= "\u2010" for other in beside)
    if character not in _SIGNS or not alone or beside and not any(other.isascii() for other in beside):
        return False
    if character in "·´":
        return before.isalnum() == after.isalnum()
    if character in "«»¿¡©" and before.isalnum() and after.isalnum():
        return False
    return not after.isalpha() or after in _BEFORE_A_LETTER.get(character, after)


@lru_cache(maxsize=1)
def _common_chinese() -> frozenset[str]:
    """The more frequent half of GB 2312 and of Big5: the characters of their first level."""
    simplified = (bytes([lead, trail]) for lead in range(0xB0, 0xD8) for trail in range(0xA1, 0xFF))
    traditional = (bytes([lead, trail]) for lead in range(0xA4, 0xC7) for trail in (*range(0x40, 0x7F),
                                                                                    *range(0xA1, 0xFF)))
    return frozenset("".join(pair.decode("gb2312", errors="ignore") for pair in simplified)
                     + "".join(pair.decode("big5", errors="ignore") for pair in traditional))


def _damaged(raw: bytes, encoding: str) -> bool:
    """Whether most characters beyond ASCII are good, so that it is this encoding with a fault and nothing else."""
    text = raw.decode(encoding, errors="replace")
    bad = text.count("\ufffd")
    good = sum(not character.isascii() for character in text) - bad
    return good > 10 * bad and (encoding == "utf-8" or plausibility(text.replace("\ufffd", "")) >= _LEAST_PLAUSIBLE)


def _nearly_good(raw: bytes, encoding: str) -> bool:
    """Whether nearly all of it is printable ASCII: there is nothing else to tell the encoding by."""
    text = raw.decode(encoding, errors="replace")
    plain = sum(character.isascii() and (character.isprintable() or character.isspace()) for character in text)
    return text.count("\ufffd") > 0 and plain >= (1 - _MOST_BAD) * len(text)


def _spoilt(raw: bytes, name: str, encoding: str, error: UnicodeDecodeError) -> tuple[str, str, Refusal]:
    line = raw.count(b"\n", 0, error.start) + 1
    fault = refusal(f"{name}, line {line}", f"{encoding.partition('-sig')[0].upper()} like the rest of the file",
                    raw[error.start:error.start + 8], "Delete or retype that place.")
    return raw.decode(encoding, errors="replace").lstrip("\ufeff"), encoding, fault
