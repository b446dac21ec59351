r"""One way of writing the same text: Unicode form, widths, invisible characters, spaces, line ends, mangled encodings.

What is done, and why not more:

- The form is NFC. NFKC would turn 10² into 102, ① into 1 and ，into a comma: it changes what is said. Only what PDF
  files and input methods produce is mapped as NFKC does: ligatures (ﬁ), radicals in place of characters (⼀), and
  full-width Latin letters, digits and signs (３７．５ becomes 37.5).
- Chinese punctuation （，。！？：；）stays: it is how Chinese is written.
- Text that was decoded with the wrong encoding is repaired only where the repair reads every character of it.
- Spaces in a row become one, at the start of a line they stay (program text); more than one empty line becomes one.

Knows nothing about records' meaning; `normalised` of its own result is that result.
"""

import re
import unicodedata
from collections import Counter

from ftkit.data.records import placed, question_and_answer, with_texts
from ftkit.data.reports import Dropped, StepReport
from ftkit.data.workers import Workers

_KEPT_WIDE = "！（），：；？～"
_WIDTHS = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in _KEPT_WIDE}
_COMPATIBLE = {code: unicodedata.normalize("NFKC", chr(code))
               for first, last in ((0x2E80, 0x2FDF), (0xFB00, 0xFB06)) for code in range(first, last + 1)}
_SPACES = dict.fromkeys([0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_LINE_ENDS = dict.fromkeys([0x0B, 0x0C, 0x85, 0x2028, 0x2029], "\n")
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A),
                            0xFEFF, *range(0xFFF9, 0xFFFC), *range(0x09), *range(0x0E, 0x20), 0x7F])
# C1 controls are what Windows-1252 has quotes and dashes at, read as Latin-1
_C1 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0) if code != 0x85}
_TABLE = {**_WIDTHS, **_COMPATIBLE, **_SPACES, **_LINE_ENDS, **_C1, **_INVISIBLE}
# joiners mean something between letters of Arabic or Indian scripts and between emoji, nowhere else
_JOINED = "[\u0600-\u1fff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]"
_JOINERS = re.compile(f"(?<={_JOINED})([\u200c\u200d])[\u200c\u200d]*(?={_JOINED})|[\u200c\u200d]+")
_ODD = re.compile("[^\n\t\x20-\x7e\u00a1-\u00ac\u00ae-\u024f\u2010-\u2027\u2030-\u205e\u3001-\u303f\u4e00-\u9fff"
                  "！（），：；？～]|[\u0300-\u036f]")
_INDENT = re.compile("^\u3000+", re.MULTILINE)  # how a Chinese paragraph begins
_INNER = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_SPACING = re.compile(r"\s\s|\r|^\s|\s$|[ \t]\n")
_MANGLED = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u2122]|[\u9200-\u9fff]")
_NOT_1252 = re.compile("[^\0-\xff" + bytes(range(0x80, 0xA0)).decode("cp1252", errors="ignore") + "]")
_REPLACED = re.compile("\ufffd|锟斤拷|烫烫烫")
_ENTITY = re.compile(r"&(?:nbsp|amp|lt|gt|quot|#\d{2,5}|#x[0-9a-fA-F]{2,4});")
_FEWEST_MANGLED = 6  # characters beyond ASCII: two or three that happen to be valid in two encodings prove nothing


def normalise(records: list[dict], *, workers: Workers | None = None) -> tuple[list[dict], StepReport]:
    """The records with every text normalised; a record that is left without a question or an answer is dropped.

    Args:
        records: as `reading.read` gives them.
        workers: the pool to do it in; None does it in this process.

    Returns: the records, and a report whose notes count the records with replacement characters (text that was lost
        when somebody read the file with a wrong encoding), with HTML entities, and with repaired encodings.

    Example:
        >>> normalise([{"instruction": "３７．５℃，\u200b发烧？ ", "output": "看医生。"}])[0][0]["instruction"]
        '37.5℃，发烧？'

    Taught in: 03_data
    """
    records = placed(records)
    kept, dropped, changed, notes = [], [], 0, Counter()
    for old, (new, marks) in zip(records, (workers or Workers(1)).map("normalise", _one, records), strict=True):
        if new is None:
            dropped.append(Dropped(old["place"], "nothing left after normalising", old))
            continue
        notes.update(marks)
        changed += new != old
        kept.append(new)
    return kept, StepReport("normalise", len(records), len(kept), changed, dropped, notes)


def normalised(text: str) -> str:
    """The text in its one way of writing; see the head of this module.

    Example:
        >>> normalised("ＡＢＣ　１２３，ｏｋ！\\r\\n\\r\\n\\r\\nbye\u200b ")
        'ABC 123，ok！\\n\\nbye'

    Taught in: 03_data
    """
    while (cleaner := _cleaned(text)) != text:  # what is invisible may have hidden what can be repaired
        text = cleaner
    return text


def repaired(text: str) -> str:
    """The text before it was decoded wrongly, where all of it can be read back as UTF-8; else the text as it is.

    Example:
        >>> repaired("It’s 39℃ – see a doctor".encode().decode("cp1252"))
        'It’s 39℃ – see a doctor'
        >>> repaired("发烧怎么办呢".encode().decode("gb18030"))
        '发烧怎么办呢'
    """
    try:
        if not _NOT_1252.search(text):
            found = b"".join(map(_byte, text)).decode("utf-8")
        else:
            found = text.encode("gb18030").decode("utf-8")
            if sum(not character.isascii() for character in text) < _FEWEST_MANGLED:
                return text
    except UnicodeError:
        return text
    return text if found == text else repaired(found)


def _byte(character: str) -> bytes:
    """Windows-1252 leaves five bytes out, which programs pass through as they are."""
    return bytes([ord(character)]) if character <= "\xa0" else character.encode("cp1252")


def _cleaned(text: str) -> str:
    if _MANGLED.search(text):
        text = repaired(text)
    if _ODD.search(text):
        text = _INDENT.sub("", unicodedata.normalize("NFC", text.replace("\r\n", "\n")))
        text = _JOINERS.sub(r"\1", text.translate(_TABLE))
        text = unicodedata.normalize("NFC", text)  # an accent may have stood behind what is gone
    if _SPACING.search(text):
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(_INNER.sub(" ", line.rstrip()) for line in lines)).strip("\n")
        text = text if "\n" in text else text.strip()
    return text


def _one(record: dict) -> tuple[dict | None, list[str]]:
    new = with_texts(record, normalised)
    question, answer = question_and_answer(new) if _whole(new) else ("", "")
    if not answer.strip():
        return None, []
    text = question + answer
    marks = [name for name, pattern in (("replacement characters", _REPLACED), ("HTML entities", _ENTITY))
             if pattern.search(text)]
    return new, marks


def _whole(record: dict) -> bool:
    asked = record.get("instruction")
    texts = [message["content"] for message in record.get("messages") or ()] or ["text" if asked is None else asked]
    return all(text.strip() for text in texts)
