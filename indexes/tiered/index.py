"""The tiered index: codes in RAM find candidates, a round or two of reads finds the answer.

Rows wait in RAM (`fresh`), then become immutable segments; small segments are merged into larger
ones as they come. An index with a folder logs every change before it is acknowledged (`log`,
`store`). What of the segments stands in RAM is chosen list by list (`tiers`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import BudgetExceeded, IndexCorrupt, InputError
from ragopt.indexes.base import (
    KIND,
    VERSION,
    Footprint,
    PositionIndex,
    SearchResult,
    SearchStats,
    is_full,
    load_saved,
)
from ragopt.indexes.checks import check_range, check_vectors
from ragopt.indexes.rows import PAGE_BYTES, ROW_DTYPES, RowFile
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors, unit_length
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.building import Progress, build_segment, forget, rows_of
from ragopt.indexes.tiered.coding import Coder, Rotation, list_count, training_rows
from ragopt.indexes.tiered.fresh import FreshRows
from ragopt.indexes.tiered.log import Added, Deleted
from ragopt.indexes.tiered.options import TieredOptions, budget_bytes
from ragopt.indexes.tiered.segment import PARTS, Assignment, Segment, assign, write_segment
from ragopt.indexes.tiered.sharing import SharedLock
from ragopt.indexes.tiered.sources import ArrayRows, JoinedRows, MappedRows, RowSource, SegmentRows
from ragopt.indexes.tiered.store import Store, identity_of
from ragopt.indexes.tiered.tiers import COLD, HOT, WARM, Residence, choose_tiers
from ragopt.indexes.tombstones import Tombstones
from ragopt.quality import Certificate
from ragopt.storage import load_folder, storage_errors, write_folder

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TieredIndex"]

_QUERY_BITS = 4
_FINE_QUERY_BITS = 8  # for codes of more than two bits
# Measured: fewer in the first round save a page or two and cost every other query a second one.
_AT_ONCE = 2 / 3  # of the candidates are read in the first round
_SLACK = 0.75  # standard errors by which one of the second round may be better than estimated
_QUERIES_A_THREAD = 16
_MERGE_RATIO = 2  # a segment no larger than so many times what comes is merged with it
_OUTGROWN = 2  # times as many lists as there are: train anew
_PROBES, _CANDIDATES = 20, 40
_FEWEST = 12  # candidates that are worth trying
_TRAINING_BYTES = 48 << 20  # under a budget, for the sample and its copies
_TRAINING_COPIES = 3
_ASKED = 300  # rows that pages are predicted with
_NARROW_ID_BYTES = 4
_DECAY = np.float32(0.5)  # of access counts, at every `rebalance`
_EVERYTHING = np.empty(0, dtype=np.uint8)
_ENDLESS = 1 << 62


class TieredIndex(PositionIndex):
    """Some spill * (dim * bits / 8 + 10) bytes of RAM a vector; at most one page read a candidate.

    Without a folder it lives in a temporary one. An index that was built with a path or opened is
    bound to its folder: what `add` and `delete` acknowledge is there, whatever happens to the
    process. One process at a time writes, from its first change until `close`; any number read, and
    see what is new after `refresh`. Searches of other threads may run beside changes.

    The lists are trained on the rows that come first: let them be representative, or call
    `compact` once they are.
    """

    family = "tiered"
    options_type = TieredOptions
    knobs: ClassVar = {
        "probes": (4, 8, 12, 14, 16, 18, 20, 24, 32, 48, 96, 256),
        "candidates": (20, 24, 32, 34, 36, 38, 40, 44, 52, 64, 120, 320),
    }
    """``probes`` lists are scanned, ``candidates`` rows read at most."""

    @classmethod
    def ladder(cls, options: Any) -> Mapping[str, Sequence[int]]:
        """Codes of more bits need fewer rows to tell the nearest from the next."""
        share = min(3, options.bits)
        candidates = [max(_FEWEST, count // share) for count in cls.knobs["candidates"]]
        return {**cls.knobs, "candidates": candidates}

    @property
    def code_bytes(self) -> float:
        """Of a code and its factors."""
        return 8.0 * self._coder.code_words + 8

    def __init__(self, options: TieredOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._set_coder(
            Coder.untrained(dim, bits=options.bits, by_product=metric != "l2", seed=self.seed)
        )
        self._segments: list[Segment] = []
        self._fresh = FreshRows(options.fresh, dim, options.rows)
        self._layout = np.array(RowFile(dim, options.rows).layout, dtype=np.int64)
        self._budget = options.ram_budget
        self._heat = np.zeros((2, 0), dtype=np.float32)
        self._set_residence(None)
        self._next_segment, self._next = 1, 0
        self._store: Store | None = None
        self._temporary: Path | None = None
        self._changing = threading.RLock()
        self._sharing = SharedLock()
        self._filter: tuple[Positions, NDArray[np.uint8]] | None = None

    # Search -------------------------------------------------------------------------------

    def search(
        self, queries: ArrayLike, k: int, *, where: Iterable[int] | None = None, **knobs: int
    ) -> SearchResult:
        """The ``k`` nearest vectors of each query; see `PositionIndex.search`.

        ``probes=`` lists are scanned, ``candidates=`` rows read at most. With ``where=`` more
        lists are scanned until as many codes that may be found were seen as without it.
        """
        if self._residence is None:
            self.load()
        self._sharing.acquire()
        try:
            return super().search(queries, k, where=where, **knobs)
        finally:
            self._sharing.release()

    def exact(self, queries: ArrayLike, k: int) -> SearchResult:
        """What a perfect search would return; see `PositionIndex.exact`."""
        self._sharing.acquire()
        try:
            return super().exact(queries, k)
        finally:
            self._sharing.release()

    def _nearest(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        probes: int = _PROBES,
        candidates: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        positions = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        costs = np.empty((len(queries), len(kernels.COSTS)), dtype=np.int64)
        coder, may, enough = self._coder, _EVERYTHING, _ENDLESS
        probes = min(probes, coder.lists)
        if allowed is not None:
            may = self._mask(allowed)
            entries = sum(segment.entries for segment in self._segments)
            enough, probes = max(1, probes * entries // coder.lists), coder.lists
        # A row of two lists may take two places among the candidates.
        least = 2 * k if coder.spill_below else k
        candidates = max(least, candidates or _CANDIDATES // min(3, coder.bits))
        given = (
            coder.rotation.signs,
            self._centroid_bits,
            self._squares,
            self._order,
            self._table,
            self._fresh.table,
            may,
            self._layout,
            self.metric == "l2",
            coder.bits,
            _QUERY_BITS if coder.bits <= 2 else _FINE_QUERY_BITS,
            probes,
            enough,
            candidates,
            max(k, int(_AT_ONCE * candidates)),
            _SLACK * coder.spread,
            self._heat,
        )
        _in_parts(given, queries, positions, scores, costs)
        codes, pages, rounds = (costs[0] if len(costs) == 1 else costs.sum(axis=0)).tolist()
        if len(costs) > 1:
            rounds = int(costs[:, kernels.ROUNDS].max())
        stats = SearchStats(
            codes_scanned=codes + len(queries) * self._fresh.count,
            pages_read=pages,
            bytes_read=pages * PAGE_BYTES,
            read_rounds=rounds,
        )
        return positions, scores, stats

    def predict_pages(self, *, k: int = 10, **knobs: int) -> float:
        """Pages a query that a setting is expected to read, with the present tiers.

        Asked of the index itself: rows of its own, moved off their places by a third of the way
        to their neighbours, are searched for. Certificates say what was measured beside it.

        Args:
            k: results a query.
            **knobs: ``probes=`` and ``candidates=``; those in use by default.

        Raises:
            InputError: an unknown knob, or an empty index.
        """
        if not len(self):
            raise InputError("predict_pages: the index is empty; add vectors first")
        rng = np.random.default_rng(self.seed)
        rows = np.sort(rng.choice(self._rows, min(self._rows, _ASKED), replace=False))
        asked = self._stored(rows)
        found = self.search(asked, 2, **knobs)
        near = self._stored(np.maximum(self._lookup(found.ids[:, -1]), 0))
        return self.search(asked + (near - asked) / 3, k, **knobs).stats.pages_read / len(asked)

    def _mask(self, allowed: Positions) -> NDArray[np.uint8]:
        """A byte a row; kept for the next search when the positions are the same object."""
        kept = self._filter  # read once: searches of other threads replace it
        if kept is None or kept[0] is not allowed:
            mask = np.zeros(self._rows, dtype=np.uint8)
            mask[allowed] = 1
            self._filter = kept = allowed, mask
        return kept[1]

    def _stored(self, positions: Positions) -> Vectors:
        rows = np.empty((len(positions), self.dim), dtype=np.float32)
        for base, part in self._containers():
            here = (positions >= base) & (positions < base + part.count)
            found = positions[here] - base
            rows[here] = part.rows[found] if isinstance(part, FreshRows) else part.rows.read(found)
        return rows

    # Ids ----------------------------------------------------------------------------------

    def _containers(self) -> list[tuple[int, Segment | FreshRows]]:
        """Where rows stand, in order of their positions, each with its first."""
        parts: list[tuple[int, Segment | FreshRows]] = []
        base = 0
        for part in (*self._segments, self._fresh):
            parts.append((base, part))
            base += part.count
        return parts

    def _to_ids(self, positions: Positions) -> NDArray[np.int64]:
        if len(self._segments) == 1 and not self._fresh.count:
            known = self._segments[0].ids.take(positions, mode="clip").astype(np.int64)
            if not is_full(positions):
                known[positions == MISSING] = MISSING
            return known
        ids = np.full(positions.shape, MISSING, dtype=np.int64)
        for base, part in self._containers():
            here = (positions >= base) & (positions < base + part.count)
            ids[here] = part.ids[positions[here] - base]
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

    def _next_id(self) -> int:
        return self._next

    # Changes ------------------------------------------------------------------------------

    def add(self, vectors: ArrayLike, ids: Iterable[int] | None = None) -> NDArray[np.int64]:
        """Add rows; see `PositionIndex.add`.

        Few rows wait in RAM, behind the log; more than `TieredOptions.fresh` become a segment.

        Raises:
            InputError: as `PositionIndex.add`.
            BudgetExceeded: what every row takes of RAM would pass the budget.
            StorageError: the disk is full or failing; nothing was added.
            StoreBusy: another process is the writer.
        """
        rows = self._checked(vectors)
        with self._writing():
            new = self._new_ids(ids, len(rows))
            self._put(rows, new)
        return new

    def upsert(self, vectors: ArrayLike, ids: Iterable[int]) -> NDArray[np.int64]:
        """Add rows in place of those that have these ids, all of them or none.

        Args:
            vectors: (n, dim).
            ids: (n,) unique integers >= 0.

        Returns:
            The ids, (n,).

        Raises:
            InputError: wrong shape or dtype, NaN, ids that repeat.
            BudgetExceeded: as `add`.
            StorageError: as `add`.
            StoreBusy: another process is the writer.
        """
        rows = self._checked(vectors)
        with self._writing():
            new = self._new_ids(ids, len(rows), replace=True)
            self._put(rows, new)
        return new

    def delete(self, ids: Iterable[int]) -> int:
        """Take ids out of every later search; see `PositionIndex.delete`.

        Raises:
            InputError: an id that is not in the index; nothing is deleted then.
            StorageError: the disk is full or failing; nothing is deleted then.
            StoreBusy: another process is the writer.
        """
        with self._writing():
            positions = self._positions(ids, "delete")
            before = len(self._dead)
            if len(positions):
                self._record(Deleted(self._to_ids(positions[None])[0]))
            return len(self._dead) - before

    def _checked(self, vectors: ArrayLike) -> Vectors:
        rows = check_vectors("vectors", vectors, dim=self.dim)
        if self.metric == "cosine":
            rows = unit_length(rows)
        check_range(rows, ROW_DTYPES[self.options.rows])
        return rows

    def _put(self, rows: Vectors, ids: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        if len(rows) <= self._fresh.room:
            self._record(Added(ids, rows))
        else:
            self._rewrite(ArrayRows(rows), ids)

    def _record(self, record: Added | Deleted) -> None:
        """Log a change and make it."""
        if self._store is None:
            self._apply(record)
            return
        self._store.append(record)
        try:
            self._apply(record)
        except BaseException:  # such as Ctrl-C
            self._store.spoil()
            raise

    def _apply(self, record: Added | Deleted) -> None:
        """Do what a record says; of rows with an id that is there the latest counts."""
        known = self._lookup(record.ids)
        with self._sharing.exclusive():
            self._dead.add(known[known != MISSING])
            if isinstance(record, Added):
                self._fresh.append(record.vectors, record.ids)
                self._rows += len(record.ids)
                self._next = max(self._next, int(record.ids.max(initial=-1)) + 1)

    def _append(self, vectors: Vectors) -> None:
        """Rows with the next ids; `add` does not come this way, since ids are kept in segments."""
        self._put(vectors, np.arange(self._next, self._next + len(vectors), dtype=np.int64))

    # Segments -----------------------------------------------------------------------------

    def compact(self) -> None:
        """Merge all segments and the fresh rows into one, without the rows that were deleted.

        Where the index has outgrown its lists they are trained anew. O(n) without, O(n lists dim)
        with; needs the disk space of the merged segment until the old ones are gone.

        Raises:
            StorageError: the disk is full or failing; everything is as before.
            StoreBusy: another process is the writer.
        """
        with self._writing():
            whole = len(self._segments) == 1 and not self._fresh.count and not self._dead
            if self._rows and (not whole or self._outgrown(len(self))):
                nothing = np.empty((0, self.dim), dtype=np.float32)
                self._rewrite(ArrayRows(nothing), np.empty(0, dtype=np.int64), everything=True)

    def flush(self) -> None:
        """Write the fresh rows to a segment, and begin an empty log.

        Raises:
            StorageError: the disk is full or failing; everything is as before.
            StoreBusy: another process is the writer.
        """
        with self._writing():
            if self._fresh.count:
                nothing = np.empty((0, self.dim), dtype=np.float32)
                self._rewrite(ArrayRows(nothing), np.empty(0, dtype=np.int64))

    def _outgrown(self, rows: int) -> bool:
        wanted = self.options.lists or list_count(rows)
        return not self._coder.is_trained or wanted >= _OUTGROWN * self._coder.lists

    def _rewrite(
        self, source: RowSource, ids: NDArray[np.int64], *, everything: bool = False
    ) -> None:
        """Write rows, the fresh ones and those of the last segments that are small to a new one."""
        replaced = self._lookup(ids)
        dead = Tombstones(self._dead.positions())
        dead.add(replaced[replaced != MISSING])
        kept = len(self._segments)
        alive = len(source) + self._fresh.count
        while kept and (everything or self._segments[kept - 1].count <= _MERGE_RATIO * alive):
            kept -= 1
            alive += self._segments[kept].count
        parts: list[tuple[RowSource, NDArray[np.int64], Assignment | None]] = []
        for base, part in self._containers()[kept:]:
            rows = np.flatnonzero(~dead.among(np.arange(base, base + part.count)))
            if isinstance(part, Segment):
                before = part.assignment().at(rows)
                parts.append((SegmentRows(part, rows), part.ids[rows].astype(np.int64), before))
            else:
                fresh = ArrayRows(part.rows[rows].astype(np.float32))
                parts.append((fresh, part.ids[rows], None))
        parts = [entry for entry in (*parts, (source, ids, None)) if len(entry[0])]
        segments = self._segments[:kept]
        coder, stored = self._coder, {}
        if parts:
            joined = JoinedRows([rows for rows, _, _ in parts])
            all_ids = np.concatenate([numbers for _, numbers, _ in parts])
            if not kept and self._outgrown(len(joined)):
                coder = self._trained(joined)
                assignment = assign(joined, coder)
            else:
                assignment = Assignment.joined(
                    [before or assign(rows, coder) for rows, _, before in parts]
                )
            stored = write_segment(
                self._folder(), self._next_segment, joined, all_ids, coder,
                assignment=assignment, dtype=self.options.rows,
            )  # fmt: skip
            paths = {part: self._folder() / entry.file for part, entry in stored.items()}
            segments = [*segments, self._opened(self._next_segment, paths, coder)]
        end = sum(segment.count for segment in self._segments[:kept])
        positions = dead.positions()
        self._replace(
            segments,
            coder,
            Tombstones(positions[positions < end]),
            max(self._next, int(ids.max(initial=-1)) + 1),
        )

    def _empty_fresh(self, base: int) -> FreshRows:
        return FreshRows(self.options.fresh, self.dim, self.options.rows, base)

    def _opened(self, number: int, paths: Mapping[str, Path], coder: Coder) -> Segment:
        return Segment(number, paths, coder, self.dim, self.options.rows)

    def _trained(self, source: RowSource) -> Coder:
        """Lists for these rows, by a sample of them."""
        lists = min(self.options.lists or list_count(len(source)), len(source))
        wanted = min(len(source), training_rows(lists))
        if self._budget is not None:
            wanted = min(wanted, max(_TRAINING_BYTES // (_TRAINING_COPIES * 4 * self.dim), 1))
            lists = min(lists, wanted)
        chosen = np.sort(
            np.random.default_rng(self.seed).choice(len(source), wanted, replace=False)
        )
        sample = source.at(chosen) if isinstance(source, MappedRows) else None
        return Coder.trained(
            _rows_at(source, chosen, self.dim) if sample is None else sample,
            lists,
            bits=self.options.bits,
            spill=self.options.spill,
            by_product=self.metric != "l2",
            seed=self.seed,
        )

    def _replace(
        self, segments: Sequence[Segment], coder: Coder, dead: Tombstones, next_id: int
    ) -> None:
        """Search another set of segments from now on, without fresh rows; commit it first."""
        fresh = self._empty_fresh(sum(segment.count for segment in segments))
        try:
            self._check_budget(segments, coder)
        except BudgetExceeded:
            for segment in segments:
                if segment not in self._segments:
                    segment.unlink()
            raise
        if self._store is not None:
            self._commit(segments, coder, dead, fresh, next_id)
        gone = [segment for segment in self._segments if segment not in segments]
        was_loaded = self._residence is not None
        with self._sharing.exclusive():
            self._set_coder(coder)
            self._segments, self._fresh, self._dead = list(segments), fresh, dead
            self._rows = sum(segment.count for segment in segments)
            self._next = next_id
            self._next_segment += 1
            # What is gone leaves RAM before what is new comes into it.
            self._set_residence(self._residence)
        if self._store is not None:
            self._store.settle()
        else:
            for segment in gone:
                segment.unlink()
        if was_loaded:
            self.load()

    def _set_coder(self, coder: Coder) -> None:
        middles = coder.centroids.astype(np.float32)
        self._coder = coder
        self._centroid_bits = coder.centroids.view(np.uint16)
        self._squares = np.einsum("ij,ij->i", middles, middles)
        self._order = np.zeros_like(self._squares) if self.metric == "ip" else self._squares

    # Tiers --------------------------------------------------------------------------------

    def load(self) -> None:
        """Bring into RAM what the budget allows; the first search does so by itself.

        Raises:
            StorageError: a file cannot be read.
        """
        with self._changing:
            self._settle(self._wanted())

    def rebalance(self, ram_budget: float | str | None = None) -> dict[str, int]:
        """Move lists between the tiers, by how often they were searched lately.

        Counts are halved each time, so that lists that are no longer asked for give way. The budget
        holds all along: lists leave RAM before others come.

        Args:
            ram_budget: a new budget, as in `TieredOptions`; the present one stays otherwise.

        Returns:
            Lists that are now hot, warm and cold, see `tiers`.

        Raises:
            InputError: an unknown size.
            BudgetExceeded: less than what every row takes of RAM.
            StorageError: the disk is full or failing.
        """
        with self._changing:
            if ram_budget is not None:
                budget_bytes(ram_budget, 1)
                before, self._budget = self._budget, ram_budget
                try:
                    self._check_budget(self._segments, self._coder)
                except BudgetExceeded:
                    self._budget = before
                    raise
                self._track()
            self._settle(self._wanted())
            self._heat *= _DECAY
            if self._store is not None and self._store.is_writer:
                self._commit_present()
        return self.tiers()

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
            tables = sum(segment.ram_bytes for segment in self._segments)
            ram = {
                "ids and tables": tables,
                "centroids and fresh rows": self._fixed(self._segments, self._coder) - tables,
            }
            for part, tier in (("codes", WARM), ("hot rows", HOT)):
                ram[part] = sum(
                    segment.bytes_of(place, rows=tier == HOT)
                    for segment, chosen in zip(self._segments, tiers, strict=True)
                    for place in np.flatnonzero(chosen >= tier).tolist()
                )
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
        """Bytes of RAM whatever the tiers: tables, ids, centroids, room for fresh rows."""
        of_rows = self.options.fresh * (int(self._layout[2]) + 8) + self._dead.nbytes
        of_lists = coder.nbytes + 4 * 4 * coder.lists
        return of_rows + of_lists + sum(segment.ram_bytes for segment in segments)

    def _check_budget(self, segments: Sequence[Segment], coder: Coder) -> None:
        rows = sum(segment.count for segment in segments)
        self._check_needed(self._fixed(segments, coder), rows)

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

    # Folder -------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change the index alone; with a folder, as its one writer and from its latest state."""
        with self._changing:
            if self._store is not None:
                self._begin(self._store)
            yield

    def _begin(self, store: Store) -> None:
        """Hold the folder for writing, its latest state in memory, and a log to append to."""
        try:
            if store.begin() or store.changed():
                self.refresh()
        except BaseException:
            store.close()
            raise
        if not store.has_log:
            self._commit_present()

    def refresh(self) -> bool:
        """Take over what another process has written to the folder since.

        Returns:
            Whether there was anything.

        Raises:
            IndexCorrupt: a file is damaged.
        """
        with self._changing:
            if self._store is None:
                return False
            if not self._store.changed():
                try:
                    return self._take_news(self._store)
                except IndexCorrupt:  # or it went with a commit; read anew, it says which
                    pass
            self._reopen()
            return True

    def _take_news(self, store: Store) -> bool:
        found = False
        for record in store.news(self.dim):
            if isinstance(record, Added) and len(record.ids) > self._fresh.room:
                raise IndexCorrupt(
                    f"{store.folder}: the log has more rows than fit beside the last segment; "
                    "restore it from a backup, or build the index again"
                )
            self._apply(record)
            found = True
        return found

    def close(self) -> None:
        """Let another process write; searches go on, and the next change takes the folder again.

        Raises:
            StorageError: with ``durability="none"``, what was only in memory does not fit the disk.
        """
        with self._changing:
            if self._store is None:
                return
            try:
                if self._store.is_writer and self._store.has_unlogged:
                    self._commit_present()
            finally:
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def verify(self) -> None:
        """Check every file of the folder against its checksum; some 1 GB/s.

        Raises:
            IndexCorrupt: a file is damaged; it is named.
            InputError: the index has no folder.
        """
        if self._store is None:
            raise InputError("verify: this index has no folder; save() it first")
        with self._changing:
            store, dim = self._store, self.dim
            self.refresh()
            load_folder(
                store.folder,
                lambda about, _: store.check_log(about["log"], dim),
                kind=KIND,
                version=VERSION,
            )

    def save(self, path: Path | str) -> None:
        """Write to a folder, atomically; to its own one: flush.

        A copy is written elsewhere, which this index is not bound to.

        Raises:
            StoreBusy: another process is writing there.
            StorageError: the disk is full, read-only or failing; the old index still opens.
        """
        with self._changing:
            if self._store is not None and _same(self._store.folder, Path(path)):
                with self._writing():
                    self.flush()
                    self._commit_present()
                return
            about = self._about(self._segments, self._coder, self._next, self._rows)
            parts: dict[str, Any] = self._small_parts(self._coder, self._dead, self._fresh)
            origin = {
                "copy of": self._store.identity if self._store else None,
                "files": [segment.files for segment in self._segments],
            }
            about["identity"] = identity_of({**about, **origin}, parts)
            for segment in self._segments:
                parts |= segment.contents()
            write_folder(Path(path), kind=KIND, version=VERSION, about=about, parts=parts)

    @classmethod
    def create(
        cls,
        options: Any,
        vectors: ArrayLike | Iterable[ArrayLike],
        ids: Iterable[int] | None,
        *,
        path: Path,
        metric: Metric,
        seed: int,
        progress: Progress | None = None,
    ) -> PositionIndex:
        """Build in a folder, from rows that may stand on disk; see `ragopt.indexes.build`."""
        is_new = not path.exists()
        store = Store(path, None, 0, options.durability)
        store.begin()
        try:
            source = rows_of(vectors, path, metric=metric, dtype=options.rows, progress=progress)
            index = cls(options, source.rows.shape[1], metric, seed=seed)
            index._store = store
            new = index._new_ids(ids, len(source))
            if len(source) <= index._fresh.room:
                index._apply(Added(new, source.at(slice(None))))
                index._commit_present()
            else:
                index._build(source, new, progress)
            forget(path)
        except (InputError, BudgetExceeded):  # there is nothing to go on with
            forget(path)
            if is_new:
                shutil.rmtree(path, ignore_errors=True)
            raise
        finally:
            store.close()
        return index

    def _build(self, source: MappedRows, ids: NDArray[np.int64], progress: Progress | None) -> None:
        about = {**asdict(self.options), "metric": self.metric, "seed": self.seed}
        lists = self.options.lists or list_count(len(source))
        tables = 8 * len(kernels.LIST_COLUMNS) * lists + _NARROW_ID_BYTES * len(source)
        self._check_needed(self._fixed([], self._coder) + tables, len(source))
        coder, stored = build_segment(
            self._folder(),
            self._next_segment,
            source,
            ids,
            lambda: self._trained(source),
            about=about,
            progress=progress,
        )
        paths = {part: self._folder() / entry.file for part, entry in stored.items()}
        segment = self._opened(self._next_segment, paths, coder)
        self._replace([segment], coder, Tombstones(), int(ids.max(initial=-1)) + 1)

    @classmethod
    def restore(cls, about: Mapping[str, Any], parts: dict[str, Path]) -> TieredIndex:
        options = TieredOptions(**about["options"])
        index = cls(options, about["dim"], about["metric"], seed=about["seed"])
        folder = parts["signs"].parent
        index._budget = about["ram_budget"]
        index._take(about, parts)
        index._store = Store(folder, about["log"], 0, options.durability, about["identity"])
        index._take_news(index._store)
        return index

    @classmethod
    def _load(cls, options: Any, dim: int, metric: Metric, parts: dict[str, Path]) -> PositionIndex:
        raise NotImplementedError("restore() does the whole of it")

    def _parts(self) -> dict[str, Any]:
        return self._small_parts(self._coder, self._dead, self._fresh)

    def _reopen(self) -> None:
        """Take over the state of the folder."""
        store = self._store
        assert store is not None  # noqa: S101

        def restore(about: Mapping[str, Any], parts: dict[str, Path]) -> TieredIndex:
            store.check_identity(about)
            return type(self).restore(about, parts)

        other = load_saved(store.folder, restore, verify=False)
        assert isinstance(other, TieredIndex)  # noqa: S101
        assert other._store is not None  # noqa: S101
        files = {segment.number: segment.files for segment in self._segments}
        forked = any(
            files.get(segment.number, segment.files) != segment.files for segment in other._segments
        )
        with self._sharing.exclusive():
            store.take(other._store)
            if forked and self._residence is not None:  # a backup was restored and written to
                self._residence = Residence.none(other._segments)
            self._set_coder(other._coder)
            self._segments, self._fresh, self._dead = other._segments, other._fresh, other._dead
            self._rows, self._next, self._next_segment = (
                other._rows,
                other._next,
                other._next_segment,
            )
            self.defaults, self.certificate = other.defaults, other.certificate
            self._budget = other._budget
            self._set_residence(self._residence)
        if self._residence is not None:
            self.load()

    def _take(self, about: Mapping[str, Any], parts: Mapping[str, Path]) -> None:
        """Fill an empty index from what was committed."""
        signs = np.fromfile(parts["signs"], dtype="<f4").reshape(self._coder.rotation.signs.shape)
        centroids = np.fromfile(parts["centroids"], dtype="<f2").reshape(-1, signs.shape[1])
        self._set_coder(
            Coder.restored(about["coder"], self.dim, Rotation(signs), centroids, self.options.bits)
        )
        for number in about["segments"]:
            paths = {part: parts[f"{number:06}-{part}"] for part in PARTS}
            self._segments.append(self._opened(number, paths, self._coder))
        rows = np.fromfile(parts["fresh-rows"], dtype=ROW_DTYPES[self.options.rows])
        ids = np.fromfile(parts["fresh-ids"], dtype="<i8").astype(np.int64)
        self._fresh = self._empty_fresh(sum(segment.count for segment in self._segments))
        self._fresh.append(rows.reshape(-1, self.dim).astype(np.float32), ids)
        self._rows = sum(segment.count for segment in self._segments) + len(ids)
        dead = np.fromfile(parts["dead"], dtype="<i8")
        if len(dead) and not 0 <= dead.min() <= dead.max() < self._rows:
            raise IndexCorrupt(f"{parts['dead']}: names rows beyond the {self._rows} there are")
        self._dead = Tombstones(dead)
        self._next, self._next_segment = about["next_id"], about["next_segment"]
        self.defaults = dict(about["defaults"])
        if about["certificate"]:
            self.certificate = Certificate.from_dict(about["certificate"])
        self._track()
        heat = np.fromfile(parts["heat"], dtype="<f4").reshape(2, -1)
        if heat.shape == self._heat.shape:
            self._heat = heat.astype(np.float32)

    def _commit_present(self) -> None:
        assert self._store is not None  # noqa: S101
        self._commit(self._segments, self._coder, self._dead, self._fresh, self._next)
        self._store.settle()

    def _commit(
        self,
        segments: Sequence[Segment],
        coder: Coder,
        dead: Tombstones,
        fresh: FreshRows,
        next_id: int,
    ) -> None:
        """Replace the manifest; what it says includes everything logged so far.

        The caller settles the store once memory says the same.
        """
        assert self._store is not None  # noqa: S101
        parts: dict[str, Any] = self._small_parts(coder, dead, fresh)
        for segment in segments:
            parts |= segment.stored
        rows = sum(segment.count for segment in segments) + fresh.count
        self._store.commit(
            kind=KIND,
            version=VERSION,
            about=self._about(segments, coder, next_id, rows),
            parts=parts,
        )

    def _about(
        self, segments: Sequence[Segment], coder: Coder, next_id: int, rows: int
    ) -> dict[str, Any]:
        numbers = [segment.number for segment in segments]
        return {
            "family": self.family,
            "options": asdict(self.options),
            "dim": self.dim,
            "metric": self.metric,
            "rows": rows,
            "seed": self.seed,
            "segments": numbers,
            "next_segment": max(self._next_segment, *numbers, 0) + 1,
            "next_id": next_id,
            "ram_budget": self._budget,
            "coder": coder.about(),
            "log": None,
            "defaults": self.defaults,
            "certificate": self.certificate.to_dict() if self.certificate else None,
        }

    def _small_parts(self, coder: Coder, dead: Tombstones, fresh: FreshRows) -> dict[str, Any]:
        return {
            "signs": coder.rotation.signs.astype("<f4"),
            "centroids": coder.centroids.astype("<f2"),
            "dead": dead.positions().astype("<i8"),
            "fresh-ids": fresh.ids.astype("<i8"),
            "fresh-rows": np.ascontiguousarray(fresh.rows),
            "heat": self._heat.astype("<f4"),
        }

    def _folder(self) -> Path:
        """Where segments stand: the folder of the index, or a temporary one that goes with it."""
        if self._store is not None:
            return self._store.folder
        if self._temporary is None:
            with storage_errors(Path(tempfile.gettempdir())):
                self._temporary = Path(tempfile.mkdtemp(prefix="ragopt-tiered-"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary

    def _footprint(self) -> Footprint:
        if self._residence is None:
            self.load()
        ram = {
            "rotation": self._coder.rotation.signs.nbytes,
            "centroids": self._coder.nbytes + self._squares.nbytes + self._order.nbytes,
            "heat": self._heat.nbytes,
            "fresh rows": self._fresh.nbytes,
            "ids": sum(segment.ids.nbytes for segment in self._segments) + self._fresh.ids.nbytes,
            "tables": sum(segment.ram_bytes - segment.ids.nbytes for segment in self._segments),
        }
        if self._residence is not None:
            ram |= self._residence.sizes()
        disk = {
            "codes": sum(segment.code_bytes for segment in self._segments),
            "rows": sum(segment.rows.disk_bytes for segment in self._segments),
        }
        return Footprint.of(ram={part: size for part, size in ram.items() if size}, disk=disk)


def _rows_at(source: RowSource, rows: Positions, dim: int) -> Vectors:
    """Some rows of a source, ascending."""
    chosen = np.empty((len(rows), dim), dtype=np.float32)
    done = 0
    for block in source.blocks():
        first, last = np.searchsorted(rows, [done, done + len(block)])
        chosen[first:last] = block[rows[first:last] - done]
        done += len(block)
    return chosen


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _in_parts(
    given: tuple[Any, ...],
    queries: Vectors,
    positions: Positions,
    scores: Vectors,
    costs: NDArray[np.int64],
) -> None:
    """Search for slices of the queries side by side, where there are enough of them."""
    threads = len(queries) // _QUERIES_A_THREAD
    if threads > 1:
        allowed = hasattr(os, "sched_getaffinity")
        threads = min(threads, len(os.sched_getaffinity(0)) if allowed else os.cpu_count() or 1)
    if threads <= 1:
        kernels.search(queries, *given, positions, scores, costs)
        return

    def search(begin: int, end: int) -> None:
        part = slice(begin, end)
        kernels.search(queries[part], *given, positions[part], scores[part], costs[part])

    bounds = np.linspace(0, len(queries), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, bounds[:-1], bounds[1:]))
