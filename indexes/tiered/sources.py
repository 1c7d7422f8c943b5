"""Where the rows of a new segment come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes.checks import check_range, check_vectors
from ragopt.indexes.rows import ROW_DTYPES
from ragopt.indexes.scoring import Metric, Positions, Vectors, unit_length
from ragopt.indexes.tiered.segment import RowSource, Segment

__all__ = ["ArrayRows", "JoinedRows", "MappedRows", "SegmentRows", "parts_of", "rows_at"]

_BLOCK_BYTES = 1 << 23


def parts_of(rows: int, dim: int, start: int) -> Iterator[slice]:
    """The parts of so many rows that are handled at a time, from one on: 8 MB each as f32."""
    step = max(1, _BLOCK_BYTES // (4 * dim))
    for first in range(start, rows, step):
        yield slice(first, first + step)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRows:
    """Checked rows (n, dim) in memory."""

    rows: Vectors

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, start: int = 0) -> Iterator[Vectors]:
        for part in parts_of(len(self.rows), self.rows.shape[1], start):
            yield self.rows[part]


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows:
    """Rows of the caller, of any precision and perhaps on disk, checked a block at a time.

    Args:
        rows: (n, dim).
        metric: for cosine they are scaled to length one.
        dtype: of the rows on disk.
    """

    rows: NDArray[Any]
    metric: Metric
    dtype: str

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, start: int = 0) -> Iterator[Vectors]:
        for part in parts_of(len(self.rows), self.rows.shape[1], start):
            yield self.at(part, part.start)

    def sample(self, rows: Positions) -> Vectors:
        """Rows by their numbers.

        Raises:
            InputError: one of them, or any other, cannot be used; it is named.
        """
        try:
            return self.at(rows)
        except InputError:
            for _ in self.blocks():  # which know the number of a bad row
                pass
            raise

    def at(self, rows: slice | Positions, first: int = 0) -> Vectors:
        """Some of the rows; ``first`` is for messages."""
        block = check_vectors("vectors", self.rows[rows], dim=self.rows.shape[1], first_row=first)
        if self.metric == "cosine":
            block = unit_length(block)
        check_range(block, ROW_DTYPES[self.dtype])
        return block


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRows:
    """Rows of a segment that are alive.

    Args:
        segment: to read.
        rows: their numbers, ascending.
    """

    segment: Segment
    rows: Positions

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, start: int = 0) -> Iterator[Vectors]:
        for part in parts_of(len(self.rows), self.segment.rows.dim, start):
            yield self.segment.rows.read(self.rows[part])


@dataclass(frozen=True, slots=True, eq=False)
class JoinedRows:
    """One source after the other."""

    sources: Sequence[RowSource]

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def blocks(self, start: int = 0) -> Iterator[Vectors]:
        for source in self.sources:
            if start < len(source):
                yield from source.blocks(start)
            start = max(0, start - len(source))


def rows_at(source: RowSource, rows: Positions, dim: int) -> Vectors:
    """Rows (n, dim) of a source by their numbers, ascending; reads all of it."""
    chosen = np.empty((len(rows), dim), dtype=np.float32)
    done = 0
    for block in source.blocks():
        first, last = np.searchsorted(rows, [done, done + len(block)])
        chosen[first:last] = block[rows[first:last] - done]
        done += len(block)
    return chosen
