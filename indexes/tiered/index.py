"""The tiered index: codes in RAM find candidates, a round or two of reads finds the answer.

Rows wait in RAM (`fresh`), then become immutable segments; small segments are merged into larger
ones as they come. An index with a folder logs every change before it is acknowledged (`log`,
`store`). What of the segments stands in RAM is chosen list by list (`tiers`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import BudgetExceeded, InputError
from ragopt.indexes.base import (
    PositionIndex,
    SearchResult,
    SearchStats,
)
from ragopt.indexes.rows import PAGE_BYTES
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors
from ragopt.indexes.tiered import kernels
from ragopt.indexes.tiered.building import Progress, build_segment, forget, rows_of
from ragopt.indexes.tiered.coding import Coder, list_count, training_rows
from ragopt.indexes.tiered.keeping import KeptIndex
from ragopt.indexes.tiered.log import Added, Deleted
from ragopt.indexes.tiered.segment import (
    Assignment,
    RowSource,
    Segment,
    assign,
    write_segment,
)
from ragopt.indexes.tiered.sources import ArrayRows, JoinedRows, MappedRows, SegmentRows, rows_at
from ragopt.indexes.tiered.store import Store
from ragopt.indexes.tombstones import Tombstones

_QUERY_BITS = 4
_FINE_QUERY_BITS = 8  # for codes of more than two bits
# Measured: fewer in the first round save a page or two and cost every other query a second one.
_AT_ONCE = 2 / 3  # of the candidates are read in the first round
_SLACK = 0.75  # standard errors by which one of the second round may be better than estimated
_QUERIES_A_THREAD = 16
_MERGE_RATIO = 2  # a segment no larger than so many times what comes is merged with it
_OUTGROWN = 2  # times as many lists as there are: train anew
_PROBES, _CANDIDATES_A_RESULT = 20, 4
# Of the rows may be found: the lists of a plain search hold enough then, and all lists need not be
# put in order, which takes as long as a search (62 us and 124, with 98 tombstones in 97,000 rows).
_NEARLY_ALL = 0.95
_FEWEST = 12  # candidates that are worth trying
_TRAINING_BYTES = 48 << 20  # under a budget, for the sample and its copies
_TRAINING_COPIES = 3
_ASKED = 300  # rows that pages are predicted with
_EVERYTHING = np.empty(0, dtype=np.uint8)
_ENDLESS = 1 << 62

__all__ = ["TieredIndex"]


class TieredIndex(KeptIndex):
    """Some spill * (dim * bits / 8 + 10) bytes of RAM a vector; at most one page read a candidate.

    Without a folder it lives in a temporary one. An index that was built with a path or opened is
    bound to its folder: what `add` and `delete` acknowledge is there, whatever happens to the
    process. One process at a time writes, from its first change until `close`; any number read, and
    see what is new after `refresh`. Searches of other threads may run beside changes.

    The lists are trained on the rows that come first: let them be representative, or call
    `compact` once they are.
    """

    knobs: ClassVar = {
        "probes": (4, 8, 12, 14, 16, 18, 20, 24, 32, 48, 96, 256),
        "candidates": (20, 24, 30, 32, 34, 36, 38, 40, 48, 64, 120, 320),
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

    def search(
        self, queries: ArrayLike, k: int, *, where: Iterable[int] | None = None, **knobs: int
    ) -> SearchResult:
        """The ``k`` nearest vectors of each query; see `PositionIndex.search`.

        ``probes=`` lists are scanned, ``candidates=`` rows read at most. With ``where=`` of fewer
        than 95 % of the rows, more lists are scanned until as many codes that may be found were
        seen as without it.
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
            if len(allowed) < _NEARLY_ALL * self._rows:
                entries = sum(segment.entries for segment in self._segments)
                enough, probes = max(1, probes * entries // coder.lists), coder.lists
        # A row of two lists may take two places among the candidates.
        least = 2 * k if coder.spill_below else k
        candidates = max(least, candidates or _CANDIDATES_A_RESULT * k // min(3, coder.bits))
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

    def _mask(self, allowed: Positions) -> NDArray[np.uint8]:
        """A byte a row; kept for the next search when the positions are the same object."""
        kept = self._filter  # read once: searches of other threads replace it
        if kept is None or kept[0] is not allowed:
            mask = np.zeros(self._rows, dtype=np.uint8)
            mask[allowed] = 1
            self._filter = kept = allowed, mask
        return kept[1]

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
        found = self.search(asked, 2, where=None, **knobs)
        near = self._stored(np.maximum(self._lookup(found.ids[:, -1]), 0))
        moved = asked + (near - asked) / 3
        return self.search(moved, k, where=None, **knobs).stats.pages_read / len(asked)

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

    def _put(self, rows: Vectors, ids: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        if len(rows) <= self._fresh.room:
            self._record(Added(ids, rows))
        else:
            self._rewrite(ArrayRows(rows), ids)

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
        sample = source.sample(chosen) if isinstance(source, MappedRows) else None
        return Coder.trained(
            rows_at(source, chosen, self.dim) if sample is None else sample,
            lists,
            bits=self.options.bits,
            spill=self.options.spill,
            by_product=self.metric != "l2",
            seed=self.seed,
        )

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
        self._check_planned(len(source))
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
    run: Any = kernels.search
    if threads <= 1:
        run(queries, *given, positions, scores, costs)
        return

    def search(begin: int, end: int) -> None:
        part = slice(begin, end)
        run(queries[part], *given, positions[part], scores[part], costs[part])

    bounds = np.linspace(0, len(queries), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, bounds[:-1], bounds[1:]))
