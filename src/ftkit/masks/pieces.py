"""Token ids to pieces of text that people can read: no character cut in two, nothing invisible, nothing unescaped.

Knows nothing about labels; any tokenizer of transformers will do, slow or fast.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LINE_END, SPACE, NOTHING = "↵", "␣", "∅"
MOST_TOGETHER = 8  # tokens of one piece; a character takes four bytes at most, and so four tokens
HALF = "\ufffd"  # what a decoder writes for bytes that are no character yet
_METASPACE = "▁"  # begins a token after a space in SentencePiece's alphabet
_OWN_MARKS = "⟦⟧" + LINE_END + SPACE + NOTHING
_SHOWN_AS_ESCAPE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}  # control, bidi, private, odd white space
_SEEN, _ZERO = "\0", "\ue000"  # while text is made visible: a space that must be seen, and a zero byte of the text
_SIGNS = {_SEEN: SPACE, _ZERO: "\\x00", "\n": LINE_END, " ": " "}
_EDGE_SPACES = re.compile(r"^ +| +$| {2,}| +(?=\n)|(?<=\n) +")


class Piece(NamedTuple):
    """The text of tokens `start` to `stop`: one token, or as many as its first character needs."""

    start: int
    stop: int
    text: str
    special: bool  # a control token of the tokenizer, or an id that it does not know


def pieces(ids: Sequence[int], tokenizer, breaks: Iterable[int] = ()) -> list[Piece]:
    """The ids as pieces of text in order; together they read like the decoded whole.

    A token is decoded behind the one before it, since many decoders write a word otherwise at the start of a text.
    Tokens that hold only a part of a character, as byte-level vocabularies have them for rarer Chinese characters,
    become one piece.

    Args:
        ids: token ids; those outside the vocabulary are named as such.
        tokenizer: any of transformers.
        breaks: places where a piece must end, even within a character.
    """
    special, known, ends = set(tokenizer.all_special_ids), len(tokenizer), {*breaks, len(ids)}
    found, before, start = [], 0, 0
    for place, token in enumerate(ids):
        if not 0 <= token < known or token in special:
            found.append(Piece(place, place + 1, _name(token, known, tokenizer), True))
            before = start = place + 1
            continue
        text = _between(ids, before, start, place + 1, tokenizer)
        after = place + 1
        last = after in ends or after - start == MOST_TOGETHER or ids[after] in special or not 0 <= ids[after] < known
        if (text and not text.endswith(HALF)) or last:
            found.append(Piece(start, after, text, False))
            before, start = (start, after) if text else (before, after)
    return found


def visible(text: str) -> str:
    """The text on one line, with white space that would not be seen as signs, and what must not be obeyed as escapes.

    A single space between words stays a space; a line end is ↵; control, bidirectional and unusual white space
    characters, and the signs used here, become escapes such as \\u202e.

    Example:
        >>> visible(" a b  c\\n\\u202e")
        '␣a b␣␣c↵\\\\u202e'
    """
    return visible_parts([text])[0]


def visible_parts(texts: Sequence[str]) -> list[str]:
    """Each of the texts made visible as a part of the whole that they make together."""
    whole = _EDGE_SPACES.sub(lambda match: _SEEN * len(match[0]), "".join(texts).replace(_SEEN, _ZERO))
    stops = list(itertools.accumulate(map(len, texts)))
    return ["".join(map(_sign, whole[stop - len(text):stop])) for text, stop in zip(texts, stops, strict=True)]


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character in _OWN_MARKS or unicodedata.category(character) in _SHOWN_AS_ESCAPE:
        return character.encode("unicode_escape").decode("ascii") if ord(character) > 31 else repr(character)[1:-1]
    return character


def _between(ids: Sequence[int], before: int, start: int, stop: int, tokenizer) -> str:
    """What tokens `start` to `stop` add to the text of those from `before` on."""
    earlier, whole = (_decoded(ids[before:end], tokenizer) for end in (start, stop))
    text = whole[len(earlier):] if whole.startswith(earlier) else _decoded(ids[start:stop], tokenizer)
    if before == start and not text.startswith(" "):
        raw = tokenizer.convert_ids_to_tokens(ids[start])
        if isinstance(raw, str) and raw.startswith(_METASPACE):
            return f" {text}"
    return text


def _decoded(ids: Sequence[int], tokenizer) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False) if ids else ""


def _name(token: int, known: int, tokenizer) -> str:
    if 0 <= token < known:
        return str(tokenizer.convert_ids_to_tokens(token))
    return f"[id {token}]"
