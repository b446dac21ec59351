"""Readable text out of bytes, whatever their encoding. Knows nothing of what the text means."""

import re
from functools import lru_cache

from ftkit.errors import Refusal, refusal

_BOMS = [(b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")]
_GUESSES = ("gb18030", "big5hkscs", "cp1252", "utf-16-le", "utf-16-be")  # the earlier where two are as good
_FOREIGN = re.compile(rb"[\x80-\xff]{2}|[\x00-\x08\x0e-\x1f]")  # two Chinese characters in a row, or UTF-16
_LEAST_PLAUSIBLE = 0.5
_JUDGED = 5000  # characters beyond ASCII that are looked at
_MOST_BAD = 0.01  # of a text's characters, for it to be of this encoding with a fault in a few places


def decode(raw: bytes, name: str = "file") -> tuple[str, str]:
    """The text in `raw` and the encoding it had: UTF-8, UTF-16, UTF-32, GB18030, Big5 or Windows-1252.

    A byte-order mark decides; else UTF-8, if all of it is; else the one in which the characters beyond ASCII are most
    like what people write: Chinese characters in common use, and Latin letters with accents beside plain ones. UTF-16
    without a mark is recognised by the zero bytes of its ASCII half. A text with a few bad bytes is refused, with the
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
    guesses = ("cp1252",) if _western(raw) else _GUESSES
    found = [] if encoding else [_read_as(raw, guess) for guess in guesses]
    best = max(filter(None, found), key=lambda guess: guess[0], default=(0.0, "", ""))
    if best[0] >= _LEAST_PLAUSIBLE:
        return best[1].lstrip("\ufeff"), best[2], None
    for likely in [encoding] if encoding else ["gb18030", "utf-8"]:
        try:
            raw.decode(likely)
        except UnicodeDecodeError as error:
            if _damaged(raw, likely) or likely != "gb18030" and _nearly_good(raw, likely):
                return _spoilt(raw, name, likely, error)
    raise refusal(name, "text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252", raw[:16], "Save it as UTF-8.")


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


def _western(raw: bytes) -> bool:
    """Whether each byte beyond ASCII stands alone in much ASCII, as in °C or café, and reads well as Windows-1252."""
    if _FOREIGN.search(raw) or 5 * sum(byte > 0x7F for byte in raw) > len(raw):
        return False
    found = _read_as(raw, "cp1252")
    return found is not None and found[0] >= _LEAST_PLAUSIBLE


def _read_as(raw: bytes, encoding: str) -> tuple[float, str, str] | None:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    return plausibility(text), text, encoding


def plausibility(text: str) -> float:
    """How much the characters beyond ASCII are like what people write: 1 if all are, -1 if none is.

    Example:
        >>> plausibility("发烧，怎么办？"), plausibility("·¢ÉÕ"), plausibility("crème")
        (1.0, -1.0, 1.0)
    """
    places = [place for place, character in enumerate(text) if not character.isascii()][:_JUDGED]
    good = sum(_usual(text, place) for place in places)
    return 2 * good / len(places) - 1 if places else 1.0


def _usual(text: str, place: int) -> bool:
    character = text[place]
    code = ord(character)
    if 0x4E00 <= code <= 0x9FFF:
        return character in _common_chinese()
    if 0x3001 <= code <= 0x301F or 0xFF01 <= code <= 0xFF5E or character in "“”‘’—…·\u3000":
        if code > 0x3000 or any(ord(beside) > 0x2E7F for beside in text[max(place - 1, 0):place + 2]):
            return True
    beside = text[max(place - 1, 0):place] + text[place + 1:place + 2]
    if character.isalpha():  # one beside a plain letter, and not in capitals among small ones
        plain = [other for other in beside if other.isascii() and other.isalpha()]
        return code < 0x250 and bool(plain) and (character.islower() or not text[place - 1:place].islower())
    return (code < 0x100 or 0x2010 <= code <= 0x2122) and (not beside or any(other.isascii() for other in beside))


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
