"""Atomic writes, hashes, full disks, and readable text whatever its encoding. Knows nothing of what the files mean."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ftkit.errors import Refusal, refusal

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_BOMS = [(b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")]
_GUESSES = ("gb18030", "big5hkscs", "cp1252", "utf-16-le", "utf-16-be")  # the earlier where two are as good
_LEAST_PLAUSIBLE = 0.5
_JUDGED = 5000  # characters beyond ASCII that are looked at


class DiskFull(Refusal):
    """There is no room for a file: the disk is full, or what one user or one file may take of it."""


@contextmanager
def needs_room(folder: str | Path, what: str, needed_bytes: int, remedy: str) -> Iterator[None]:
    """While open, a write that finds no room is refused in a sentence instead of an error number.

    Args:
        folder: where is written; the sentence gives its last part.
        what: what is written, in words.
        needed_bytes: how much room that takes.
        remedy: what to do once there is room, and what became of what was there.

    Raises:
        DiskFull: no room; the sentence says how much is needed and how much is free.
    """
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number not in _NO_ROOM:
            raise
        folder = Path(folder).resolve()
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = f"{_mib(shutil.disk_usage(there).free)} free ({os.strerror(number)})"
        words = refusal(f"the disk of {folder.name}", f"one with room for {what} "
                        f"({_mib(needed_bytes)})", free, f"Free some space. {remedy}")
        raise DiskFull(str(words)) from error


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """The file, written whole or not at all: a reader, or a kill half-way, sees the old content or the new.

    Args:
        path: the file to write; its folder is made.
        content: text (stored as UTF-8) or bytes.

    Raises:
        DiskFull: there is no room; the old content is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    raw = content.encode("utf-8") if isinstance(content, str) else content
    try:
        with needs_room(path.parent, path.name, len(raw), "Then do it again: what was there before is unchanged."):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def append_whole(file: BinaryIO, content: bytes) -> None:
    """Appends to an unbuffered file all of the content, or nothing where there is no room for all."""
    before, left = os.fstat(file.fileno()).st_size, content
    try:
        while left:
            left = left[file.write(left) :]  # a disk that fills up takes a part first
    except BaseException:
        file.truncate(before)
        raise


def write_json(path: str | Path, value: object) -> Path:
    """The value as indented UTF-8 JSON, written atomically."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | Path) -> object:
    """The value in a JSON file.

    Raises:
        Refusal: the file is missing or is not JSON; the sentence names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal("file", "a readable JSON file", str(path), "Check the path.")
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        place = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise refusal(path.name, "valid JSON", place, "Mend or delete the file.") from error
    except (ValueError, RecursionError) as error:
        raise refusal(path.name, "valid JSON in UTF-8", str(error), "Mend or delete the file.") from error


def replace_folder(partial: str | Path, final: str | Path) -> Path:
    """The folder `partial` under its final name; an older folder of that name is removed.

    A kill leaves either the old folder, or none and the complete `partial`, or the new one: never half of one. The
    old folder is renamed before it is removed, because removing takes many steps.
    """
    partial, final = Path(partial), Path(final)
    aside = final.with_name(f".{final.name}.old")
    if aside.exists():
        shutil.rmtree(aside)
    if final.exists():
        os.replace(final, aside)
    os.replace(partial, final)
    shutil.rmtree(aside, ignore_errors=True)
    return final


def sha256(source: str | Path | bytes) -> str:
    """The SHA-256 of a file's bytes (given its path) or of the bytes themselves, in hex."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode(raw: bytes, name: str = "file") -> tuple[str, str]:
    """The text in `raw` and the encoding it had: UTF-8, UTF-16, UTF-32, GB18030, Big5 or Windows-1252.

    A byte-order mark decides; else UTF-8, if all of it is; else the one in which the characters beyond ASCII are most
    like what people write: Chinese characters in common use, and Latin letters with accents beside plain ones. UTF-16
    without a mark is recognised by the zero bytes of its ASCII half. A file with a few bad bytes is refused, with the
    line of the first: read in another encoding it would turn into other characters and nobody would notice.

    Raises:
        Refusal: no known encoding reads it.

    Example:
        >>> decode("发烧".encode("gb18030")), decode("café crème".encode("cp1252"))
        (('发烧', 'gb18030'), ('café crème', 'cp1252'))
    """
    encoding = _marked(raw)
    for known in [encoding] if encoding else ["utf-8"]:
        try:
            return raw.decode(known).lstrip("\ufeff"), known
        except UnicodeDecodeError as error:
            if known == "utf-8" and _damaged(raw, "utf-8"):
                raise _spoilt(raw, name, "UTF-8", error) from error
    found = [] if encoding else [_read_as(raw, guess) for guess in _GUESSES]
    best = max(filter(None, found), key=lambda guess: guess[0], default=(0.0, "", ""))
    if best[0] >= _LEAST_PLAUSIBLE:
        return best[1].lstrip("\ufeff"), best[2]
    if not encoding and _damaged(raw, "gb18030"):
        try:
            raw.decode("gb18030")
        except UnicodeDecodeError as error:
            raise _spoilt(raw, name, "GB18030", error) from error
    raise refusal(name, "text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252", raw[:16], "Save it as UTF-8.")


def read_text(path: str | Path) -> tuple[str, str]:
    """The text of a file and the encoding it had; see `decode`."""
    path = Path(path)
    if not path.is_file():
        raise refusal("file", "an existing file", str(path), "Check the path.")
    return decode(path.read_bytes(), path.name)


def _system_error(error: Exception) -> int | None:
    """The system's number of an error; safetensors says it in words."""
    if isinstance(error, OSError):
        return error.errno
    _, found, rest = str(error).partition("(os error ")
    return int(rest.partition(")")[0]) if found else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.2f} MiB"


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


def _spoilt(raw: bytes, name: str, encoding: str, error: UnicodeDecodeError) -> Refusal:
    line = raw.count(b"\n", 0, error.start) + 1
    return refusal(f"{name}, line {line}", f"{encoding} like the rest of the file", raw[error.start:error.start + 8],
                   "Delete or retype that place.")
