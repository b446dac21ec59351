"""Atomic writes, hashes and full disks. Knows nothing of what the files mean."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ftkit.errors import Refusal, refusal

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


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


def _system_error(error: Exception) -> int | None:
    """The system's number of an error; safetensors says it in words."""
    if isinstance(error, OSError):
        return error.errno
    _, found, rest = str(error).partition("(os error ")
    return int(rest.partition(")")[0]) if found else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.2f} MiB"
