"""A folder that one process at a time may write to.

Knows nothing about what is in the folder. The system holds the lock and lets go of it when the process ends, however it
ends, so a lock never outlives its process; the file holds the process number, for people to read.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from ftkit.errors import refusal

LOCK = ".lock"
_FAR = 2**30  # Windows keeps others from reading a locked byte, so one far behind the content is locked

_held: dict[str, "Lock"] = {}  # by folder: the locks of this process


class Lock:
    """The right to write to a folder, until `release` or the end of the process.

    The same process may take it again, as when a notebook cell is run twice: the earlier `Lock` is then no longer held.

    Raises:
        Refusal: another living process has it.
    """

    def __init__(self, folder: str | Path):
        self._key = str(Path(folder).resolve())
        earlier = _held.get(self._key)
        if earlier is not None and earlier.held:
            self._file, earlier._file = earlier._file, None
        else:
            self._file = _locked_file(Path(folder) / LOCK)
        self._process = os.getpid()  # a forked child has the file too, but not the lock
        _held[self._key] = self

    @property
    def held(self) -> bool:
        """Whether this lock still counts."""
        return self._file is not None and self._process == os.getpid()

    def release(self) -> None:
        """Lets others write; a second call does nothing."""
        if self.held:
            self._file.close()
            del _held[self._key]
        self._file = None


def _locked_file(path: Path) -> IO[bytes]:
    file = path.open("a+b")
    try:
        _lock_by_system(file)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read(20).decode("ascii", errors="replace").strip() or "unknown"
        file.close()
        raise refusal(f"run folder {path.parent.name}", "written to by one process at a time",
                      f"one in use by process {owner}",
                      "Wait for it, stop it, or choose another folder.") from error
    with suppress(OSError):  # for people alone: on a full disk the lock holds without it
        file.truncate(0)
        os.write(file.fileno(), str(os.getpid()).encode("ascii"))
    return file


def _lock_by_system(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
