"""Rows on disk behind a memory map, laid out in pages and read in one prefetched round.

A row never crosses a page boundary when it fits a page, so a candidate costs one page. All pages
of a query are announced to the kernel before the first is touched: the reads then run side by
side instead of one page fault after the other.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.scoring import Positions, Vectors
from ragopt.storage import allocate, storage_errors

__all__ = ["PAGE_BYTES", "ROW_DTYPES", "RowFile", "row_view"]

PAGE_BYTES = 4096
ROW_DTYPES: dict[str, np.dtype[Any]] = {"f16": np.dtype("<f2"), "f32": np.dtype("<f4")}
_BLOCK_PAGES = 4096


class RowFile:
    """Rows (n, dim) of one dtype in a file of pages.

    Args:
        dim: length of a row.
        dtype: ``"f16"`` or ``"f32"``.
        path: an existing file of rows, opened for reading; without it rows stand in an unnamed
            temporary file, which the first `append` makes.
        count: rows in the file at ``path``.
    """

    def __init__(self, dim: int, dtype: str, *, path: Path | None = None, count: int = 0) -> None:
        self.dim = dim
        self.dtype = ROW_DTYPES[dtype]
        self.count = count
        self._row_bytes = dim * self.dtype.itemsize
        self._rows_a_slot = max(1, PAGE_BYTES // self._row_bytes)
        self._slot_bytes = -(-self._rows_a_slot * self._row_bytes // PAGE_BYTES) * PAGE_BYTES
        self._file: Any = None
        self._view: NDArray[Any] = np.empty((0, self._rows_a_slot, dim), dtype=self.dtype)
        self._private = False
        if path is not None and count:
            with storage_errors(path):
                self._file = path.open("rb")
            self._map()

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return self._row_bytes

    @property
    def layout(self) -> tuple[int, int, int]:
        """Rows a slot, bytes from one slot to the next, bytes of a row."""
        return self._rows_a_slot, self._slot_bytes, self._row_bytes

    @property
    def disk_bytes(self) -> int:
        """Size of the file."""
        return int(self._slots(self.count) * self._slot_bytes)

    def append(self, rows: Vectors) -> None:
        """Add rows, converted to the file's dtype.

        Raises:
            StorageError: the temporary folder is full; the rows before stay as they were.
        """
        if not len(rows):
            return
        if not self._private:
            self._become_private()
        tail = self.count % self._rows_a_slot
        if tail:  # the last slot is not full: write it again
            rows = np.concatenate([self.read(np.arange(self.count - tail, self.count)), rows])
        full = self.count - tail
        with storage_errors(Path(tempfile.gettempdir())):
            self._file.seek(self._slots(full) * self._slot_bytes)
            step = _BLOCK_PAGES * self._rows_a_slot
            for start in range(0, len(rows), step):
                _write_all(self._file, self._pack(rows[start : start + step]))
        self.count = full + len(rows)
        self._map()

    def prefetch(self, positions: Positions) -> int:
        """Announce the pages of rows to the kernel, in one round; return how many pages."""
        slots = np.unique(positions // self._rows_a_slot)
        if hasattr(os, "posix_fadvise") and len(slots):
            starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 2) > 1)
            ends = np.append(starts[1:], len(slots))
            handle = self._file.fileno()
            for first, last in zip(slots[starts], slots[ends - 1], strict=True):
                os.posix_fadvise(
                    handle,
                    int(first) * self._slot_bytes,
                    int(last - first + 1) * self._slot_bytes,
                    os.POSIX_FADV_WILLNEED,
                )
        return int(len(slots) * (self._slot_bytes // PAGE_BYTES))

    @property
    def address(self) -> int:
        """Of the mapped file, valid as long as this object is and nothing is appended."""
        return int(self._view.ctypes.data)

    def read(self, positions: Positions) -> Vectors:
        """Rows (n, dim) as float32."""
        slot, place = np.divmod(positions, self._rows_a_slot)
        return np.asarray(self._view[slot, place], dtype=np.float32)

    def stored(self, positions: Positions) -> NDArray[Any]:
        """Rows (n, dim) in the file's own precision."""
        return np.ascontiguousarray(self._view[np.divmod(positions, self._rows_a_slot)])

    def content(self) -> NDArray[np.uint8]:
        """The file's bytes."""
        if not self.count:
            return np.empty(0, dtype=np.uint8)
        return np.frombuffer(self._mapping, dtype=np.uint8, count=self.disk_bytes)

    def _slots(self, rows: int) -> int:
        return -(-rows // self._rows_a_slot)

    def _pack(self, rows: Vectors) -> NDArray[np.uint8]:
        slots = self._slots(len(rows))
        packed = np.zeros((slots, self._slot_bytes), dtype=np.uint8)
        flat = np.zeros((slots * self._rows_a_slot, self.dim), dtype=self.dtype)
        flat[: len(rows)] = rows
        used = self._rows_a_slot * self._row_bytes
        packed[:, :used] = flat.view(np.uint8).reshape(slots, used)
        return packed

    def _become_private(self) -> None:
        """Leave a shared, saved file alone: go on in a temporary copy of it."""
        with storage_errors(Path(tempfile.gettempdir())), contextlib.ExitStack() as undo:
            # Unbuffered: what a full disk refused must not be written later.
            private = tempfile.TemporaryFile(prefix="ragopt-rows-", buffering=0)  # noqa: SIM115
            undo.callback(private.close)
            _write_all(private, self.content())
            undo.pop_all()
        if self._file is not None:
            self._file.close()
        self._file, self._private = private, True

    def _map(self) -> None:
        """Map the file anew; rows are read at random, so the kernel shall not read ahead."""
        self._mapping = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            self._mapping.madvise(mmap.MADV_RANDOM)
        slots = self._slots(self.count)
        raw = np.frombuffer(self._mapping, dtype=np.uint8, count=slots * self._slot_bytes)
        self._view = self._rows_of(raw, slots)

    def _rows_of(self, raw: NDArray[np.uint8], slots: int) -> NDArray[Any]:
        """The rows (slots, rows a slot, dim) in the bytes of so many slots."""
        rows: NDArray[Any] = np.ndarray(
            (slots, self._rows_a_slot, self.dim),
            dtype=self.dtype,
            buffer=raw,
            strides=(self._slot_bytes, self._row_bytes, self.dtype.itemsize),
        )
        return rows

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()


def row_view(
    path: Path, dim: int, dtype: str, count: int, *, again: bool = False
) -> tuple[np.memmap[Any, np.dtype[np.uint8]], NDArray[Any]]:
    """Make a file of rows that are written in any order, or go on with one (``again``).

    Returns:
        The writable map, to be flushed, and its rows as (slots, rows a slot, dim).

    Raises:
        OSError: the disk is full.
    """
    layout = RowFile(dim, dtype)
    slots = layout._slots(count)
    if not again:
        with path.open("wb") as file:
            allocate(file.fileno(), slots * layout._slot_bytes)
    written = np.memmap(path, dtype=np.uint8, mode="r+")
    return written, layout._rows_of(written, slots)


def _write_all(file: Any, content: NDArray[np.uint8]) -> None:
    """Write to an unbuffered file, which may take a part at a time."""
    rest = content.reshape(-1).data
    while rest:
        rest = rest[file.write(rest) :]
