"""A line for every hit, appended and never changed: which entry was served, to whom, and why.

One JSON object a line, with a checksum, so that a torn or altered line is known for one. Lines are
appended by single writes, which several processes may do to one file. Questions and principals are
in it as digests only.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ragopt.errors import InputError
from ragopt.storage import storage_errors

__all__ = ["HitLog", "LoggedHit", "read_hits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedHit:
    """One hit.

    Args:
        time: Unix time.
        entry: that was served.
        tier: ``"exact"`` or ``"semantic"``.
        similarity: of the two questions.
        scope: first 16 hexadecimal digits of the scope's key.
        question: of the SHA-256 of the question, likewise.
        principal: of the digest of who asked; empty where nobody said.
    """

    time: float
    entry: int
    tier: str
    similarity: float
    scope: str
    question: str
    principal: str = ""


class HitLog:
    """Appends to a file, made when missing.

    Args:
        path: of the file.

    Raises:
        StorageError: it cannot be written.

    Cost: one write of some 200 bytes a hit, not synced: what a power cut may take with it are the
    last seconds, never what stands before them.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(
                self.path,
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0),
                0o600,
            )
        self._lock = threading.Lock()
        self._torn = False

    def append(self, hit: LoggedHit) -> None:
        """Write a line.

        Raises:
            StorageError: the disk is full or failing.
        """
        body = json.dumps(asdict(hit), separators=(",", ":"))
        line = f"{zlib.crc32(body.encode()):08x} {body}\n".encode()
        with storage_errors(self.path), self._lock:
            # a line that was torn is ended, so that it does not spoil this one
            written = os.write(self._handle, b"\n" + line if self._torn else line)
            self._torn = written < len(line) + self._torn
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def read_hits(path: Path | str) -> Iterator[LoggedHit | None]:
    """The hits of a log in order; None for a line that is torn or was altered.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            for line in file:
                yield _read(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(line: bytes) -> LoggedHit | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(body) or not line.endswith(b"\n"):
            return None
        return LoggedHit(**json.loads(body))
    except (ValueError, TypeError):
        return None
