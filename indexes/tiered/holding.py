"""What a tiered index consists of: coder, segments, fresh rows, tombstones, and their ids."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.indexes.base import (
    PositionIndex,
    is_full,
)
from ragopt.indexes.checks import check_range, check_vectors
from ragopt.indexes.rows import ROW_DTYPES, RowFile
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors, unit_length
from ragopt.indexes.tiered.coding import Coder
from ragopt.indexes.tiered.fresh import FreshRows
from ragopt.indexes.tiered.log import Added, Deleted
from ragopt.indexes.tiered.options import TieredOptions
from ragopt.indexes.tiered.segment import (
    Segment,
)
from ragopt.indexes.tiered.sharing import SharedLock

__all__ = ["HeldRows"]


class HeldRows(PositionIndex):
    """Rows in segments and beside them; a position counts through all of these in turn."""

    family = "tiered"
    options_type = TieredOptions

    def __init__(self, options: TieredOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._set_coder(
            Coder.untrained(dim, bits=options.bits, by_product=metric != "l2", seed=self.seed)
        )
        self._segments: list[Segment] = []
        self._fresh = FreshRows(options.fresh, dim, options.rows)
        self._layout = np.array(RowFile(dim, options.rows).layout, dtype=np.int64)
        self._next_segment, self._next = 1, 0
        self._changing = threading.RLock()
        self._sharing = SharedLock()
        self._filter: tuple[Positions, NDArray[np.uint8]] | None = None

    @property
    def _id_bytes(self) -> int:
        return sum(part.ids.nbytes for _, part in self._containers())

    def _next_id(self) -> int:
        return self._next

    def _containers(self) -> list[tuple[int, Segment | FreshRows]]:
        """Where rows stand, in order of their positions, each with its first."""
        parts: list[tuple[int, Segment | FreshRows]] = []
        base = 0
        every: list[Segment | FreshRows] = [*self._segments, self._fresh]
        for part in every:
            parts.append((base, part))
            base += part.count
        return parts

    def _stored(self, positions: Positions) -> Vectors:
        rows = np.empty((len(positions), self.dim), dtype=np.float32)
        for base, part in self._containers():
            here = (positions >= base) & (positions < base + part.count)
            found = positions[here] - base
            rows[here] = part.rows[found] if isinstance(part, FreshRows) else part.rows.read(found)
        return rows

    def _to_ids(self, positions: Positions) -> NDArray[np.int64]:
        if len(self._segments) == 1 and not self._fresh.count:
            known = self._segments[0].ids.take(positions, mode="clip").astype(np.int64)
            if not is_full(positions):
                known[positions == MISSING] = MISSING
            return known
        ids = np.full(positions.shape, MISSING, dtype=np.int64)
        for base, part in self._containers():
            if part.count:  # what stands in a later part is overwritten there
                own = part.ids.take(positions - base, mode="clip")
                ids = np.where(positions >= base, own, ids)
        return ids

    def _lookup(self, ids: Positions, *, dead_allowed: bool = False) -> Positions:
        found = np.full(len(ids), MISSING, dtype=np.int64)
        parts = self._containers()
        for dead in (False, True) if dead_allowed else (False,):
            for base, part in reversed(parts):
                missing = np.flatnonzero(found == MISSING)
                if not len(missing) or not part.count:
                    continue
                rows = part.find(ids[missing])
                positions = np.where(rows == MISSING, MISSING, rows + base)
                if self._dead and not dead:
                    positions[self._dead.among(positions)] = MISSING
                found[missing] = positions
        return found

    def _checked(self, vectors: ArrayLike) -> Vectors:
        rows = check_vectors("vectors", vectors, dim=self.dim)
        if self.metric == "cosine":
            rows = unit_length(rows)
        check_range(rows, ROW_DTYPES[self.options.rows])
        return rows

    def _apply(self, record: Added | Deleted) -> None:
        """Do what a record says; of rows with an id that is there the latest counts."""
        known = self._lookup(record.ids)
        with self._sharing.exclusive():
            self._dead.add(known[known != MISSING])
            if isinstance(record, Added):
                self._fresh.append(record.vectors, record.ids)
                self._rows += len(record.ids)
                self._next = max(self._next, int(record.ids.max(initial=-1)) + 1)

    def _empty_fresh(self, base: int) -> FreshRows:
        return FreshRows(self.options.fresh, self.dim, self.options.rows, base)

    def _opened(self, number: int, paths: Mapping[str, Path], coder: Coder) -> Segment:
        return Segment(number, paths, coder, self.dim, self.options.rows)

    def _set_coder(self, coder: Coder) -> None:
        middles = coder.centroids.astype(np.float32)
        self._coder = coder
        self._centroid_bits = coder.centroids.view(np.uint16)
        self._squares = np.einsum("ij,ij->i", middles, middles)
        self._order = np.zeros_like(self._squares) if self.metric == "ip" else self._squares
