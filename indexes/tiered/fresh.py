"""Rows that wait in RAM before they become a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.rows import ROW_DTYPES
from ragopt.indexes.scoring import MISSING, Positions, Vectors
from ragopt.indexes.tiered import kernels

__all__ = ["FreshRows"]


class FreshRows:
    """Rows in the precision that they will have on disk, so that scores do not change then.

    Memory is taken as it fills.

    Args:
        capacity: rows at most.
        dim: length of a row.
        dtype: ``"f16"`` or ``"f32"``.
        base: position of the first.
    """

    def __init__(self, capacity: int, dim: int, dtype: str, base: int = 0) -> None:
        self.count = 0
        self._rows = np.empty((capacity, dim), dtype=ROW_DTYPES[dtype])
        self._ids = np.empty(capacity, dtype=np.int64)
        self.table = np.array([base, 0, 0, self._rows.ctypes.data], dtype=np.int64)
        """Where they stand, by `kernels.SEGMENT_COLUMNS`; valid as long as this object is."""

    @property
    def room(self) -> int:
        """Rows that still fit."""
        return len(self._ids) - self.count

    @property
    def nbytes(self) -> int:
        """Of the rows that are there, without their ids."""
        return self.rows.nbytes

    @property
    def rows(self) -> NDArray[Any]:
        """(count, dim) in stored precision."""
        return self._rows[: self.count]

    @property
    def ids(self) -> NDArray[np.int64]:
        """(count,)."""
        return self._ids[: self.count]

    def append(self, rows: Vectors, ids: NDArray[np.int64]) -> None:
        """Add rows; they fit."""
        end = self.count + len(rows)
        self._rows[self.count : end] = rows
        self._ids[self.count : end] = ids
        self.table[kernels.COUNT] = end
        self.count = end  # last: searches of other threads see whole rows only

    def find(self, ids: NDArray[np.int64]) -> Positions:
        """The latest row of each id, -1 where there is none."""
        found = np.full(len(ids), MISSING, dtype=np.int64)
        order = np.argsort(self.ids, kind="stable")
        if len(order):
            last = np.searchsorted(self.ids, ids, side="right", sorter=order) - 1
            rows = order[np.maximum(last, 0)]
            here = (last >= 0) & (self.ids[rows] == ids)
            found[here] = rows[here]
        return found
