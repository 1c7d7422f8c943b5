"""The write-ahead log: what was added and deleted since the last segment was written.

A header, then records: kind, size, a checksum of these two, a checksum of the content, the content.
Kill a writer at any instant, and the file ends with whole records and perhaps a part of one more,
which nobody was told about; `WriteAheadLog.read` stops there. Anything else that does not fit its
checksum was damaged later and is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import IndexCorrupt, StorageError
from ragopt.indexes.scoring import Vectors
from ragopt.storage import atomic_write, storage_errors

__all__ = ["Added", "Deleted", "Durability", "WriteAheadLog"]

Durability: TypeAlias = Literal["commit", "batch", "none"]
"""When `add` and `delete` return: once the disk has the record, once the system has it (what is
acknowledged survives the death of the process, not of the machine), or at once (kept in memory up
to the next segment or `close`)."""

_MAGIC = b"ragopt-log-1\n\0\0\0"
_HEADER = struct.Struct("<IQII")  # kind, size of the content, crc of these two, crc of the content
_FIELDS = struct.Struct("<IQ")
_ADD, _DELETE = 1, 2
_WAY_OUT = "restore it from a backup, or build the index again"
_sync = getattr(os, "fdatasync", os.fsync)  # which some systems lack


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """Rows that were added: ids (n,) and vectors (n, dim)."""

    ids: NDArray[np.int64]
    vectors: Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Deleted:
    """Ids (n,) that were deleted."""

    ids: NDArray[np.int64]


class WriteAheadLog:
    """One log file, open for appending by the one writer of an index.

    Args:
        path: of a file that `create` made.
        end: where the last whole record ends, by `read`; what is behind is cut off.
        sync: wait for the disk at every record.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, end: int, *, sync: bool) -> None:
        self.path = path
        self.end = end = max(end, len(_MAGIC))
        """Where the last whole record ends."""
        self._sync = sync
        with storage_errors(path):
            self._handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            self.close = weakref.finalize(self, os.close, self._handle)
            """Release the file."""
            if os.fstat(self._handle).st_size > end:
                os.ftruncate(self._handle, end)

    @staticmethod
    def create(path: Path) -> int:
        """Make an empty log; return where it ends.

        Raises:
            StorageError: the disk is full or failing.
        """
        atomic_write(path, _MAGIC)
        return len(_MAGIC)

    @staticmethod
    def read(path: Path, dim: int, start: int = 0) -> Iterator[tuple[Added | Deleted, int]]:
        """Records from a place on, each with the place behind it.

        Raises:
            IndexCorrupt: the file is damaged or missing; it is named.
            StorageError: it cannot be read.
        """
        try:
            with storage_errors(path), path.open("rb") as file:
                file.seek(start)
                content = file.read()
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            raise IndexCorrupt(f"{path}: missing; {_WAY_OUT}") from error
        at = 0
        if start == 0:
            if content[: len(_MAGIC)] != _MAGIC:
                raise IndexCorrupt(f"{path}: is no log of this version; {_WAY_OUT}")
            at = len(_MAGIC)
        while len(content) - at >= _HEADER.size:
            kind, size, header_sum, content_sum = _HEADER.unpack_from(content, at)
            begin = at + _HEADER.size
            if header_sum != zlib.crc32(content[at : at + _FIELDS.size]):
                if not any(content[at:]):  # a machine that lost power may leave a tail of zeros
                    return
                raise IndexCorrupt(f"{path}: damaged at byte {start + at}; {_WAY_OUT}")
            if begin + size > len(content):
                return
            body = content[begin : begin + size]
            if zlib.crc32(body) != content_sum:
                raise IndexCorrupt(f"{path}: damaged at byte {start + begin}; {_WAY_OUT}")
            at = begin + size
            yield _record(kind, body, dim, path), start + at

    def append(self, record: Added | Deleted) -> None:
        """Write a record; it is there whole or, after an error, not at all.

        After an error begin another log: a process that reads this one may have seen the record
        before it was taken back, and where even that fails it is still there.

        Raises:
            StorageError: the disk is full or failing, or the file was removed.
        """
        kind, body = _bytes_of(record)
        fields = _FIELDS.pack(kind, len(body))
        data = memoryview(fields + struct.pack("<II", zlib.crc32(fields), zlib.crc32(body)) + body)
        with storage_errors(self.path):
            if not os.fstat(self._handle).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "the log was removed")
            try:
                os.lseek(self._handle, self.end, os.SEEK_SET)
                written = 0
                while written < len(data):
                    written += os.write(self._handle, data[written:])
                if self._sync:
                    _sync(self._handle)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, self.end)
                raise
        self.end += len(data)


def _bytes_of(record: Added | Deleted) -> tuple[int, bytes]:
    ids = record.ids.astype("<i8").tobytes()
    if isinstance(record, Deleted):
        return _DELETE, ids
    return _ADD, struct.pack("<Q", len(record.ids)) + ids + record.vectors.astype("<f4").tobytes()


def _record(kind: int, body: bytes, dim: int, path: Path) -> Added | Deleted:
    if kind == _DELETE and len(body) % 8 == 0:
        return Deleted(np.frombuffer(body, dtype="<i8").astype(np.int64))
    count = int.from_bytes(body[:8], "little")
    if kind != _ADD or len(body) != 8 + count * (8 + 4 * dim):
        raise IndexCorrupt(f"{path}: a record of an unknown kind or size; {_WAY_OUT}")
    ids = np.frombuffer(body, dtype="<i8", count=count, offset=8).astype(np.int64)
    vectors = np.frombuffer(body, dtype="<f4", offset=8 + 8 * count).reshape(count, dim)
    return Added(ids, vectors.astype(np.float32))
