"""Segments: immutable files of rows in list order and the codes of the lists.

Four parts: ``lists`` (i32, own and spilled entries of each list), ``codes`` (a block a list, see
`kernels.search`, from a page boundary), ``rows`` (pages of rows, list after list), ``ids``.
"""

from __future__ import annotations

import mmap
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import IndexCorrupt
from ragopt.indexes.rows import PAGE_BYTES, RowFile, row_view
from ragopt.indexes.scoring import MISSING, Positions, Vectors
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.coding import NO_LIST, Coder
from ragopt.storage import StoredPart, allocate, storage_errors, store_part, temporary_part

__all__ = ["PARTS", "RowSource", "Segment", "write_segment"]

PARTS = ("lists", "codes", "rows", "ids")
_LARGEST_NARROW_ID = (1 << 31) - 1


class RowSource(Protocol):
    """Rows to write, readable more than once."""

    def __len__(self) -> int: ...
    def blocks(self, start: int = 0) -> Iterator[Vectors]:
        """Rows (n, dim) f32 from one on, checked and scaled as the index holds them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Lists of the rows of a source.

    Args:
        first: (n,) i32.
        second: (n,) i32, -1 for none.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]

    def at(self, rows: Positions) -> Assignment:
        """Of some of the rows."""
        return Assignment(self.first[rows], self.second[rows])

    @classmethod
    def joined(cls, parts: Sequence[Assignment]) -> Assignment:
        """Of several sources, one after the other."""
        return cls(
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.second for part in parts]),
        )


class Segment:
    """An open segment; its files stay readable even when they are unlinked.

    Args:
        number: of the segment.
        paths: its parts.
        coder: of the index.
        dim: length of a row.
        dtype: of the rows, ``"f16"`` or ``"f32"``.

    Raises:
        IndexCorrupt: the parts do not fit together.
        StorageError: a file cannot be opened.
    """

    def __init__(
        self, number: int, paths: Mapping[str, Path], coder: Coder, dim: int, dtype: str
    ) -> None:
        self.number = number
        self._paths = dict(paths)
        own, spilled = _read_lists(paths["lists"], coder.lists)
        self.count = int(own.sum())
        self.ids = _read_ids(paths["ids"], self.count)
        self.sizes = list_bytes(own, spilled, coder.code_words)
        """Bytes of each list's block."""
        self.offsets = _offsets(self.sizes)
        expected = int(self.offsets[-1])
        with storage_errors(paths["codes"]):
            self._codes = paths["codes"].open("rb", buffering=0)
            weakref.finalize(self, self._codes.close)
            found = self._codes.seek(0, 2)
            if found != expected or not expected:
                raise IndexCorrupt(f"{paths['codes']}: {found} bytes, expected {expected}")
            self._map = mmap.mmap(self._codes.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)
        self.mapped = np.frombuffer(self._map, dtype=np.uint8)
        a_slot, slot_bytes, _ = RowFile(dim, dtype).layout
        expected = -(-self.count // a_slot) * slot_bytes
        if (found := paths["rows"].stat().st_size) != expected:
            raise IndexCorrupt(f"{paths['rows']}: {found} bytes, expected {expected}")
        self.rows = RowFile(dim, dtype, path=paths["rows"], count=self.count)
        self.table = np.zeros((coder.lists, len(kernels.LIST_COLUMNS)), dtype=np.int64)
        """By `kernels.LIST_COLUMNS`, nothing in RAM."""
        self.table[:, kernels.FILE] = self.mapped.ctypes.data + self.offsets[:-1]
        self.table[:, kernels.OWN] = own
        self.table[:, kernels.SPILLED] = spilled
        self.table[:, kernels.FIRST] = np.cumsum(own) - own
        self._order: NDArray[np.int32] | None = None

    @property
    def entries(self) -> int:
        """Codes, those of rows in two lists twice."""
        return int(self.table[:, kernels.OWN].sum() + self.table[:, kernels.SPILLED].sum())

    @property
    def files(self) -> list[str]:
        """Names of the files, which tell their content."""
        return [path.name for path in self._paths.values()]

    @property
    def stored(self) -> dict[str, StoredPart]:
        """The parts, as a manifest names them."""
        return {
            f"{self.number:06}-{part}": StoredPart.of(path) for part, path in self._paths.items()
        }

    def contents(self) -> dict[str, Any]:
        """The parts' bytes."""
        lists = np.stack([self.table[:, kernels.OWN], self.table[:, kernels.SPILLED]])
        contents = {
            "lists": lists.astype("<i4"),
            "codes": self.mapped,
            "rows": self.rows.content(),
            "ids": self.ids,
        }
        return {f"{self.number:06}-{part}": content for part, content in contents.items()}

    def unlink(self) -> None:
        """Remove the files; what is mapped stays readable."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    @property
    def code_bytes(self) -> int:
        """Of the blocks on disk."""
        return int(self.mapped.nbytes)

    @property
    def fixed_bytes(self) -> int:
        """Of ids and tables, the table that searches go by included, whatever the tiers."""
        tables = 2 * self.table.nbytes + self.sizes.nbytes + self.offsets.nbytes
        return int(self.ids.nbytes + tables)

    @property
    def ram_bytes(self) -> int:
        """`fixed_bytes` and the order of ids, once `find` has made it."""
        return self.fixed_bytes + (0 if self._order is None else self._order.nbytes)

    def bytes_of(self, place: int, *, rows: bool) -> int:
        """Bytes of a list's block, or of its own rows."""
        own = int(self.table[place, kernels.OWN])
        return own * self.rows.row_bytes if rows else int(self.sizes[place])

    def read(self, place: int, out: NDArray[np.uint8], *, rows: bool) -> None:
        """Copy a list's block or rows to memory of our own, past the maps."""
        if rows:
            first, own = (int(self.table[place, part]) for part in (kernels.FIRST, kernels.OWN))
            out[:] = self.rows.stored(np.arange(first, first + own)).view(np.uint8).reshape(-1)
            return
        self._codes.seek(int(self.offsets[place]))
        view = out.data
        while view:
            got = self._codes.readinto(view)
            if not got:
                raise IndexCorrupt(f"{self._codes.name}: ends within list {place}")
            view = view[got:]

    def find(self, ids: NDArray[np.int64]) -> Positions:
        """Rows of ids, -1 for those that are not here. O(m log n) after a first O(n log n)."""
        if self._order is None:
            self._order = np.argsort(self.ids, kind="stable").astype(np.int32)
        at = np.searchsorted(self.ids, ids, sorter=self._order)
        rows = self._order[np.minimum(at, self.count - 1)].astype(np.int64)
        return np.where(self.ids[rows] == ids, rows, MISSING)

    def assignment(self) -> Assignment:
        """Lists of the rows, for writing them anew without looking for the nearest.

        Raises:
            IndexCorrupt: a list names rows that are not there, and nobody verified it.
        """
        own = self.table[:, kernels.OWN]
        first = np.repeat(np.arange(len(own), dtype=np.int32), own)
        second = np.full(self.count, NO_LIST, dtype=np.int32)
        for place in np.flatnonzero(self.table[:, kernels.SPILLED]):
            end = int(self.offsets[place] + self.sizes[place])
            start = end - 4 * int(self.table[place, kernels.SPILLED])
            spilled = self.mapped[start:end].view("<i4")
            if spilled.min() < 0 or spilled.max() >= self.count:
                raise IndexCorrupt(
                    f"{self._codes.name}: list {place} names rows beyond the {self.count} there "
                    "are; verify() tells what else is damaged; restore a backup or build again"
                )
            second[spilled] = place
        return Assignment(first, second)


def list_bytes(
    own: NDArray[np.int64], spilled: NDArray[np.int64], code_words: int
) -> NDArray[np.int64]:
    """Bytes of the blocks of lists."""
    return (own + spilled) * (8 * code_words + 8) + 4 * spilled


def write_segment(
    folder: Path,
    number: int,
    source: RowSource,
    ids: NDArray[np.int64],
    coder: Coder,
    *,
    assignment: Assignment,
    dtype: str,
) -> dict[str, StoredPart]:
    """Write the parts of a segment, synced; they count once a manifest names them.

    Memory: 20 bytes a row and a few blocks of rows.

    Args:
        folder: of the index.
        number: of the segment.
        source: rows, read once.
        ids: (n,) of the rows.
        coder: of the index.
        assignment: of the rows.
        dtype: of the rows on disk.

    Raises:
        StorageError: the disk is full or failing; nothing is left behind.
    """
    written = SegmentFiles(
        {part: temporary_part(folder, f"{number:06}-{part}") for part in PARTS}, dtype
    )
    try:
        with storage_errors(folder):
            written.begin(ids, coder, assignment)
            for start, block in numbered(source.blocks()):
                written.put(start, block)
            return written.finish(folder, number)
    finally:
        written.remove()


def numbered(blocks: Iterable[Vectors], start: int = 0) -> Iterator[tuple[int, Vectors]]:
    """Blocks with the number of their first row."""
    for block in blocks:
        yield start, block
        start += len(block)


def assign(source: RowSource, coder: Coder) -> Assignment:
    """Lists of all rows of a source. O(n lists dim)."""
    found = [coder.assign(coder.rotation(block)) for block in source.blocks()]
    first, second = zip(*found, strict=True)
    return Assignment(np.concatenate(first), np.concatenate(second))


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where everything goes.

    Args:
        assignment: of the rows.
        counts: (2, lists) own and spilled entries.
        rows: (n,) i32, the row of the segment that each row of the source becomes.
        ranks: (n,) i32, its place among those spilled into its second list.
    """

    assignment: Assignment
    counts: NDArray[np.int64]
    rows: NDArray[np.int32]
    ranks: NDArray[np.int32]

    @classmethod
    def of(cls, assignment: Assignment, coder: Coder) -> Placement:
        first, second = assignment.first, assignment.second
        order = np.lexsort((second, first))
        rows = np.empty(len(first), dtype=np.int32)
        rows[order] = np.arange(len(first), dtype=np.int32)
        spilled = np.flatnonzero(second != NO_LIST)
        counts = np.stack(
            [np.bincount(part, minlength=coder.lists) for part in (first, second[spilled])]
        )
        # In order of their rows, so that a merge lays out what a build would.
        by_list = spilled[np.lexsort((rows[spilled], second[spilled]))]
        starts = np.cumsum(counts[1]) - counts[1]
        ranks = np.zeros(len(first), dtype=np.int32)
        ranks[by_list] = np.arange(len(by_list)) - starts[second[by_list]]
        return cls(assignment, counts, rows, ranks)


class SegmentFiles:
    """The files of a segment that is being written; the order in which rows come does not matter.

    Args:
        paths: of the parts.
        dtype: of the rows on disk.
    """

    def __init__(self, paths: Mapping[str, Path], dtype: str) -> None:
        self._paths = dict(paths)
        self._dtype = dtype

    def begin(
        self, ids: NDArray[np.int64], coder: Coder, assignment: Assignment, *, again: bool = False
    ) -> None:
        """Lay the files out.

        Args:
            ids: (n,) of the rows.
            coder: of the index.
            assignment: of the rows.
            again: go on with files that were begun with the same arguments before.

        Raises:
            OSError: the disk is full.
        """
        self._coder, self._assignment = coder, assignment
        self._places = Placement.of(assignment, coder)
        own, spilled = counts = self._places.counts
        self._offsets = _offsets(list_bytes(own, spilled, coder.code_words))
        self._first_rows = np.cumsum(own) - own
        ordered = np.empty(len(ids), dtype=_id_dtype(ids))
        ordered[self._places.rows] = ids
        # Not tofile: its errors do not say that the disk is full.
        self._paths["lists"].write_bytes(counts.astype("<i4").data)
        self._paths["ids"].write_bytes(ordered.data)
        if not again:
            with self._paths["codes"].open("wb") as file:
                allocate(file.fileno(), int(self._offsets[-1]))
        self._codes = np.memmap(self._paths["codes"], dtype=np.uint8, mode="r+")
        self._row_map, self._rows = row_view(
            self._paths["rows"], coder.dim, self._dtype, len(ids), again=again
        )

    def put(self, start: int, block: Vectors) -> None:
        """Write a block of rows, of which the first has this number."""
        part = slice(start, start + len(block))
        targets = self._places.rows[part]
        self._rows[np.divmod(targets, self._rows.shape[1])] = block
        rotated = self._coder.rotation(block)
        own = self._places.counts[0]
        first, second = self._assignment.first[part], self._assignment.second[part]
        self._place(rotated, first, targets - self._first_rows[first])
        spilled = np.flatnonzero(second != NO_LIST)
        lists = second[spilled]
        ranks = self._places.ranks[part][spilled]
        self._place(rotated[spilled], lists, own[lists] + ranks)
        entries = self._places.counts.sum(axis=0)[lists]
        begin = self._offsets[lists] + entries * (8 * self._coder.code_words + 8)
        self._codes.view("<i4")[begin // 4 + ranks] = targets[spilled]

    def sync(self) -> None:
        """Bring what was put so far to the disk."""
        self._codes.flush()
        self._row_map.flush()

    def finish(self, folder: Path, number: int) -> dict[str, StoredPart]:
        """Make the files parts of a folder, all of them or none."""
        self.sync()
        stored: dict[str, StoredPart] = {}
        try:
            for part, path in self._paths.items():
                stored[part] = store_part(path, folder, f"{number:06}-{part}")
        except BaseException:
            for entry in stored.values():
                (folder / entry.file).unlink(missing_ok=True)
            raise
        return stored

    def remove(self) -> None:
        """Remove what is still there."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def _place(
        self, rotated: Vectors, lists: NDArray[np.int32], entries: NDArray[np.int64]
    ) -> None:
        """Put codes where they belong in the file of blocks."""
        coded = self._coder.encode(rotated, lists)
        kernels.place_codes(
            self._codes.view(np.uint64),
            self._offsets // 8,
            self._places.counts.sum(axis=0),
            lists,
            entries,
            coded.words.reshape(len(rotated), self._coder.code_words),
            coded.constants,
            coded.scales,
        )


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where blocks begin, each on a page of its own, and the end."""
    padded = -(-sizes // PAGE_BYTES) * PAGE_BYTES
    return np.concatenate([[0], np.cumsum(padded)])


def _id_dtype(ids: NDArray[np.int64]) -> str:
    return "<i4" if ids.max(initial=0) <= _LARGEST_NARROW_ID else "<i8"


def _read_lists(path: Path, lists: int) -> NDArray[np.int64]:
    """Own and spilled entries (2, lists); checked always, for all other reads hang on them."""
    content = path.read_bytes()
    if zlib.crc32(content) != StoredPart.of(path).crc32:
        raise IndexCorrupt(f"{path}: checksum mismatch; restore it from a backup or build again")
    if len(content) != 8 * lists:
        raise IndexCorrupt(f"{path}: does not describe {lists} lists")
    return np.frombuffer(content, dtype="<i4").astype(np.int64).reshape(2, lists)


def _read_ids(path: Path, count: int) -> NDArray[Any]:
    size = path.stat().st_size
    for dtype in ("<i4", "<i8"):
        if size == count * np.dtype(dtype).itemsize:
            return np.fromfile(path, dtype=dtype)
    raise IndexCorrupt(f"{path}: {size} bytes, expected 4 or 8 for each of {count} rows")
