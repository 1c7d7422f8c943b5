"""Rows that were deleted and still stand in an index."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.scoring import Positions

__all__ = ["Tombstones"]


class Tombstones:
    """A set of positions: a byte a row once there are any.

    Args:
        positions: that are dead from the beginning.
    """

    def __init__(self, positions: Iterable[int] = ()) -> None:
        self._dead = np.zeros(0, dtype=bool)
        self._count = 0
        self._alive: Positions | None = None
        self._rows = 0
        given = positions if isinstance(positions, np.ndarray) else list(positions)
        self.add(np.asarray(given, dtype=np.int64))

    def add(self, positions: Positions) -> int:
        """Bury rows; return how many of them were alive."""
        if not len(positions):
            return 0
        needed = int(positions.max()) + 1
        if needed > len(self._dead):  # grown by halves, so that many small deletes stay cheap
            longer = np.zeros(max(needed, len(self._dead) * 3 // 2), dtype=bool)
            longer[: len(self._dead)] = self._dead
            self._dead = longer
        before = self._count
        self._dead[positions] = True
        self._count = int(np.count_nonzero(self._dead))
        self._alive = None
        return self._count - before

    def among(self, positions: Positions) -> NDArray[np.bool_]:
        """Which of these positions (-1 allowed) are dead."""
        found = np.zeros(len(positions), dtype=bool)
        known = (positions >= 0) & (positions < len(self._dead))
        found[known] = self._dead[positions[known]]
        return found

    def alive(self, rows: int) -> Positions:
        """Positions of so many rows that are not dead, ascending.

        The same array is returned until something changes.
        """
        alive = self._alive
        if alive is None or rows != self._rows:
            mask = np.ones(rows, dtype=bool)
            mask[self.positions()] = False
            self._alive, self._rows = alive, _ = np.flatnonzero(mask), rows
        return alive

    def positions(self) -> Positions:
        """Those that are dead, ascending."""
        return np.flatnonzero(self._dead)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        kept = 0 if self._alive is None else self._alive.nbytes
        return self._dead.nbytes + kept

    def __len__(self) -> int:
        return self._count
