"""The text of web pages and PDF files: what was written there, character by character, with its headings marked.

Knows nothing about files' names, nor what the text is for.
"""

import codecs
import re
from pathlib import Path
from xml.etree import ElementTree

from ftkit.decoding import decode
from ftkit.errors import Refusal, refusal

HEADING = re.compile(r"#{1,6}\s+(\S.*)|(第[一二三四五六七八九十百零\d]+[章节篇部]\s*\S?.{0,30}(?<![。；，！？]))|"
                     r"((?:[一二三四五六七八九十]+、|（[一二三四五六七八九十]+）).{1,30}(?<![。；，！？]))|"
                     r"((?:Chapter|Part|Section) (?:\d+|[IVX]+)\b.{0,60}(?<![.;,!?]))")
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
_SURE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")  # no page in another reads as these
_SAYS_NOTHING = ("iso8859-1", "cp1252", "ascii", "unicode_escape", "raw_unicode_escape")  # read any byte as something
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"}  # what calls itself so is often more
_WRAPPED = re.compile(r"(?<=[^\s。！？!?.:：；])\n(?=[^\s#\-*•\d第])")
_PAGE_NUMBER = re.compile(r"[-–—·\s]*(?:第\s*|page\s+)?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?(?:\s*页)?[-–—·\s]*",
                          re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01])|x0*(?:[0-8bcef]|1[\da-f]));",
                      re.IGNORECASE)  # no page may hold them, and the parser fails on them
_RAISED = re.compile(r"<(su[pb])\b[^>]*>\s*([\d+−-]+)\s*</\1>", re.IGNORECASE)  # 10<sup>9</sup> is not 109
_SMALL = {"sup": str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻"),
          "sub": str.maketrans("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋")}
_BLOCKS = ("p", "list", "table", "quote", "head", "div")


def from_html(raw: bytes, name: str) -> tuple[str, str]:
    """The title of a page, and what it says without menus and adverts; all of its text where no main part is found.

    Headings come out as in Markdown and code stands between fences; all else is the page's own characters.

    Raises:
        Refusal: no known encoding reads it.
    """
    import trafilatura
    from trafilatura.settings import use_config

    text = _CONTROL.sub("", _decoded(raw, name))
    text = _RAISED.sub(lambda match: match[2].translate(_SMALL[match[1].lower()]), text)
    settings = use_config()
    settings.set("DEFAULT", "MIN_EXTRACTED_SIZE", "60")  # its 250 characters are of English; Chinese takes fewer
    metadata = trafilatura.extract_metadata(text)
    found = trafilatura.extract(text, output_format="xml", include_comments=False, config=settings)
    main = _rendered(ElementTree.fromstring(found).find("main")) if found else ""
    return (metadata.title if metadata else "") or "", main or trafilatura.html2txt(text)


def from_pdf(path: Path, name: str) -> tuple[str, str]:
    """The title that a PDF file names, and the text of its pages.

    Raises:
        Refusal: it takes a password, or is no readable PDF.
    """
    import logging

    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise refusal(name, "a PDF that opens without a password", "an encrypted one",
                          "Save it without a password.")
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "")
    except Refusal:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise refusal(name, "a readable PDF", str(error) or type(error).__name__,
                      "Download or save it again.") from error
    return title, "\n\n".join(unwrapped(page) for page in pages)


def unwrapped(page: str) -> str:
    """A PDF page's text with its lines joined where a sentence runs on: without a space between Chinese characters.

    A heading, or a line much shorter than the page's usual one, ends there; a page's number at its edge is left out.

    Example:
        >>> unwrapped("一、概述\\n感冒是由病毒引起的，\\n常见于冬天。\\n- 12 -")
        '一、概述\\n\\n感冒是由病毒引起的，常见于冬天。'
    """
    lines = [line.rstrip() for line in page.strip().splitlines()]
    for edge in (-1, 0):
        if len(lines) > 1 and _PAGE_NUMBER.fullmatch(lines[edge]):
            del lines[edge]
    usual = sorted(map(len, lines))[len(lines) * 3 // 4] if lines else 0
    page = "\n".join(f"\n{line}\n" if HEADING.fullmatch(line.strip()) else
                     f"{line}\n" if 2 * len(line) < usual else line for line in lines)
    page = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", page)
    page = re.sub(r"(?<=[\u3400-\u9fff，、])\n(?=[\u3400-\u9fff（“《])(?!第[一二三四五六七八九十]+[章节])", "", page)
    return _WRAPPED.sub(lambda match: " " if page[match.end()].isascii() else "\n", page).strip()


def _decoded(raw: bytes, name: str) -> str:
    """The page in UTF-8 if all of it is, whatever it says; else in the encoding that it says, or as the bytes tell."""
    said = _CHARSET.search(raw[:2048])
    try:
        text, encoding = decode(raw, name)
    except Refusal:
        text = _as_said(raw, said[1].decode("ascii")) if said else None
        if text is None:
            raise
        return text
    as_said = _as_said(raw, said[1].decode("ascii")) if said and encoding not in _SURE else None
    return text if as_said is None else as_said


def _as_said(raw: bytes, charset: str) -> str | None:
    try:
        known = codecs.lookup(charset).name
        return None if known in _SAYS_NOTHING else raw.decode(_WIDER.get(known, known))
    except (UnicodeDecodeError, LookupError):
        return None


def _rendered(main: ElementTree.Element) -> str:
    """The blocks of an extracted page, with an empty line between them."""
    return "\n\n".join(filter(None, map(_block, main)))


def _block(element: ElementTree.Element) -> str:
    words = _words(element)
    if element.tag == "head":
        return f"{'#' * int(element.get('rend', 'h2')[-1])} {' '.join(words.split())}"
    if element.tag == "code":
        return f"```\n{words}\n```"
    if element.tag == "list":
        numbered = element.get("rend") == "ol"
        return "\n".join(f"{f'{number}.' if numbered else '-'} {_words(item)}"
                         for number, item in enumerate(element.findall("item"), 1))
    if element.tag == "table":
        return "\n".join(" | ".join(map(_words, row)) for row in element.iter("row"))
    return words


def _words(element: ElementTree.Element) -> str:
    """The characters of an element, each block within on lines of its own."""
    return re.sub(r" *\n+ *", "\n", "".join(_parts(element))).strip() if element.tag != "code" else (
        "".join(element.itertext()).strip("\n"))


def _parts(element: ElementTree.Element) -> list[str]:
    parts = [element.text or ""]
    for inner in element:
        block = inner.tag in _BLOCKS
        parts += ["\n", _block(inner), "\n"] if block else ["\n"] if inner.tag == "lb" else _parts(inner)
        parts.append(inner.tail or "")
    return parts
