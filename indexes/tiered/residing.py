"""What of a tiered index stands in RAM, under its budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import BudgetExceeded
from ragopt.indexes.base import (
    Footprint,
)
from ragopt.indexes.scoring import Metric
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.coding import Coder, list_count
from ragopt.indexes.tiered.holding import HeldRows
from ragopt.indexes.tiered.options import TieredOptions, budget_bytes
from ragopt.indexes.tiered.segment import (
    Segment,
)
from ragopt.indexes.tiered.tiers import COLD, HOT, OBJECT_BYTES, WARM, Residence, choose_tiers

if TYPE_CHECKING:
    pass


__all__ = ["ResidentIndex"]

_LIST_BYTES = 2 * 4 + 2 * 4  # of a list: its square, its order, two counts
_NARROW_ID_BYTES = 4
_ROW_BYTES = 4 + 1  # of a row: its place in the order of ids, its byte in a filter


class ResidentIndex(HeldRows):
    """Lists in tiers, chosen by how often they are searched; see `tiers`."""

    def __init__(self, options: TieredOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._budget = options.ram_budget
        self._heat = np.zeros((2, 0), dtype=np.float32)
        self._set_residence(None)

    def load(self) -> None:
        """Bring into RAM what the budget allows; the first search does so by itself.

        Raises:
            StorageError: a file cannot be read.
        """
        with self._changing:
            self._settle(self._wanted())

    def tiers(self) -> dict[str, int]:
        """Lists by tier, those of every segment counted for themselves."""
        if self._residence is None:
            self.load()
        residence = self._residence
        names = {"hot": HOT, "warm": WARM, "cold": COLD}
        assert residence is not None  # noqa: S101
        return {name: int((residence.tiers == tier).sum()) for name, tier in names.items()}

    def about(self) -> dict[str, Any]:
        """How it stands, and what it takes once it is in RAM; nothing is brought there by this.

        Returns:
            ``segments``, rows of each; ``fresh_rows``; ``tombstones``; ``lists``; ``tiers``, as
            `tiers` counts them; ``ram_budget`` as given and ``ram_budget_bytes``; ``ram`` and
            ``disk``, bytes by part, as the budget counts them.
        """
        with self._changing:
            tiers = self._wanted() if self._residence is None else self._residence.tiers
            ram = self._fixed_parts(self._segments, self._coder)
            for part, tier in (("codes", WARM), ("hot rows", HOT)):
                sizes = [
                    segment.bytes_of(place, rows=tier == HOT)
                    for segment, chosen in zip(self._segments, tiers, strict=True)
                    for place in np.flatnonzero(chosen >= tier).tolist()
                ]
                ram[part] = sum(size + OBJECT_BYTES for size in sizes if size)
            names = {"hot": HOT, "warm": WARM, "cold": COLD}
            return {
                "segments": [segment.count for segment in self._segments],
                "fresh_rows": self._fresh.count,
                "tombstones": len(self._dead),
                "lists": self._coder.lists,
                "tiers": {name: int((tiers == tier).sum()) for name, tier in names.items()},
                "ram_budget": self._budget,
                "ram_budget_bytes": self._limit(),
                "ram": ram,
                "disk": {
                    "codes": sum(segment.code_bytes for segment in self._segments),
                    "rows": sum(segment.rows.disk_bytes for segment in self._segments),
                },
            }

    def _settle(self, tiers: NDArray[np.uint8]) -> None:
        present = self._residence or Residence.none(self._segments)
        with self._sharing.exclusive():
            present = present.without(self._segments, tiers)
            self._set_residence(present)
        together = self._budget is None
        loaded = present.load(self._segments, tiers, together=together)
        with self._sharing.exclusive():
            self._set_residence(loaded)

    def _wanted(self) -> NDArray[np.uint8]:
        budget = self._limit()
        left = None if budget is None else budget - self._fixed(self._segments, self._coder)
        return choose_tiers(self._segments, self._heat, left, int(self._layout[2]))

    def _limit(self) -> int | None:
        return budget_bytes(self._budget, 4 * self.dim * self._rows)

    def _fixed(self, segments: Sequence[Segment], coder: Coder) -> int:
        """Bytes of RAM whatever the tiers."""
        return sum(self._fixed_parts(segments, coder).values())

    def _fixed_parts(self, segments: Sequence[Segment], coder: Coder) -> dict[str, int]:
        """What they are for."""
        rows = sum(segment.count for segment in segments)
        return {
            "ids and tables": sum(segment.fixed_bytes for segment in segments),
            "centroids": coder.nbytes + coder.rotation.signs.nbytes + _LIST_BYTES * coder.lists,
            "room for fresh rows": self.options.fresh * (int(self._layout[2]) + 8),
            # Whoever looks ids up needs their order, whoever filters a mask.
            "room for look-ups and filters": self._dead.nbytes + _ROW_BYTES * rows,
        }

    def _check_budget(self, segments: Sequence[Segment], coder: Coder) -> None:
        rows = sum(segment.count for segment in segments)
        self._check_needed(self._fixed(segments, coder), rows)

    def _check_planned(self, rows: int) -> None:
        """Refuse a budget that so many rows cannot fit before the work of building begins."""
        lists = self.options.lists or list_count(rows)
        of_lists = 8 * len(kernels.LIST_COLUMNS) * lists
        of_rows = (_NARROW_ID_BYTES + _ROW_BYTES) * rows
        self._check_needed(self._fixed([], self._coder) + of_lists + of_rows, rows)

    def _check_needed(self, needed: int, rows: int) -> None:
        budget = budget_bytes(self._budget, 4 * self.dim * rows)
        if budget is not None and needed > budget:
            raise BudgetExceeded(
                f"tiered: ram_budget={self._budget!r} is {budget:,} bytes, but ids, tables and "
                f"centroids of {rows:,} rows take {needed:,} alone; raise the budget, or lower "
                "lists or fresh"
            )

    def _track(self) -> None:
        """Count accesses where there is something to choose."""
        lists = 0 if self._budget is None else self._coder.lists
        if self._heat.shape[1] != lists:
            self._heat = np.zeros((2, lists), dtype=np.float32)

    def _set_residence(self, residence: Residence | None) -> None:
        """The tables that searches go by."""
        self._track()
        self._table = np.zeros((0, len(kernels.SEGMENT_COLUMNS)), dtype=np.int64)
        self._residence = residence
        if residence is None:
            return
        self._residence = residence = residence.without(self._segments, None)
        tables = residence.tables
        self._table = np.zeros((len(tables), len(kernels.SEGMENT_COLUMNS)), dtype=np.int64)
        base = 0
        for row, table, segment in zip(self._table, tables, self._segments, strict=True):
            row[:] = base, segment.count, table.ctypes.data, segment.rows.address
            base += segment.count

    def _footprint(self) -> Footprint:
        if self._residence is None:
            self.load()
        ram = {
            "rotation": self._coder.rotation.signs.nbytes,
            "centroids": self._coder.nbytes + self._squares.nbytes + self._order.nbytes,
            "heat": self._heat.nbytes,
            "fresh rows": self._fresh.nbytes,
            "tables": sum(segment.ram_bytes - segment.ids.nbytes for segment in self._segments),
        }
        if self._residence is not None:
            ram |= self._residence.sizes()
        disk = {
            "codes": sum(segment.code_bytes for segment in self._segments),
            "rows": sum(segment.rows.disk_bytes for segment in self._segments),
        }
        return Footprint.of(ram={part: size for part, size in ram.items() if size}, disk=disk)
