"""Nearest questions of one scope, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FlatVectors", "VectorStore"]

_FIRST_ROWS = 64
_REMOVED_SHARE = 0.25  # of the rows; beyond it they are moved together


class VectorStore(Protocol):
    """What the semantic tier asks of an index; rows have length one, similarity is the cosine."""

    def __len__(self) -> int:
        """Rows that can be found."""
        ...

    def add(self, ids: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Take in rows (n, dim), float32, under ids that were never used before."""
        ...

    def remove(self, ids: Iterable[int]) -> None:
        """Forget ids; unknown ones are passed over."""
        ...

    def search(
        self, vector: NDArray[np.float32], k: int, at_least: float
    ) -> list[tuple[int, float]]:
        """At most ``k`` pairs (id, similarity) of at least ``at_least``, most similar first."""
        ...

    def ids(self) -> NDArray[np.int64]:
        """Ids that can be found."""
        ...


class FlatVectors:
    """Every row compared with one matrix-vector product: exact, no training, no build.

    One thread may change it while others search: searchers hold a view of rows that are never
    written again. Searching reads all of it once (4 * dim bytes per entry, some 20 GB/s).

    Args:
        dim: length of a row.
    """

    def __init__(self, dim: int) -> None:
        self._rows = np.empty((_FIRST_ROWS, dim), dtype=np.float32)
        self._ids = np.empty(_FIRST_ROWS, dtype=np.int64)
        self._seen = (self._rows[:0], self._ids[:0])
        self._removed: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Rows that can be found."""
        return len(self._seen[1]) - len(self._removed)

    @property
    def nbytes(self) -> int:
        """Memory held, spare rows included."""
        return self._rows.nbytes + self._ids.nbytes

    def add(self, ids: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Take in rows (n, dim), float32, of length one. Amortised cost: one copy."""
        used = len(self._seen[1])
        needed = used + len(ids)
        if needed > len(self._ids):
            self._grow(max(needed, 2 * len(self._ids)))
        self._rows[used:needed] = rows
        self._ids[used:needed] = ids
        self._seen = (self._rows[:needed], self._ids[:needed])

    def remove(self, ids: Iterable[int]) -> None:
        """Forget ids; unknown ones are passed over. Room is taken back in larger pieces."""
        present = self._seen[1]
        if not len(present):
            return
        known = present[np.isin(present, np.fromiter(ids, np.int64))]
        self._removed |= frozenset(known.tolist())
        if len(self._removed) > _REMOVED_SHARE * len(self._seen[1]):
            self._move_together()

    def search(
        self, vector: NDArray[np.float32], k: int, at_least: float
    ) -> list[tuple[int, float]]:
        """At most ``k`` pairs (id, similarity) of at least ``at_least``, most similar first.

        Args:
            vector: (dim,) of length one.
            k: most pairs wanted.
            at_least: least similarity; of equally similar ones the newest comes first.
        """
        # read before the rows: whoever moves rows together empties it only after
        removed = self._removed
        rows, ids = self._seen
        similarity = rows @ vector
        near = np.flatnonzero(similarity >= at_least)
        if removed and near.size:
            near = near[~np.isin(ids[near], list(removed))]
        if near.size > k:
            last = np.partition(similarity[near], near.size - k)[near.size - k]
            near = near[similarity[near] >= last]  # more than k where the last are equal
        order = np.lexsort((-ids[near], -similarity[near]))[:k]
        return [(int(ids[row]), float(similarity[row])) for row in near[order]]

    def ids(self) -> NDArray[np.int64]:
        """Ids that can be found, oldest first."""
        return self.taken()[0]

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Copies of the ids (n,) that can be found and of their rows (n, dim), oldest first."""
        rows, ids = self._seen
        keep = ~np.isin(ids, list(self._removed))
        return ids[keep], rows[keep]

    def _grow(self, capacity: int) -> None:
        rows, ids = self._seen
        self._rows = np.empty((capacity, rows.shape[1]), dtype=np.float32)
        self._ids = np.empty(capacity, dtype=np.int64)
        self._rows[: len(ids)] = rows
        self._ids[: len(ids)] = ids

    def _move_together(self) -> None:
        rows, ids = self._seen
        keep = ~np.isin(ids, list(self._removed))
        self._rows, self._ids = rows[keep], ids[keep]
        self._seen = (self._rows, self._ids)
        self._removed = frozenset()
