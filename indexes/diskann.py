"""DiskANN: a graph walked on disk, product-quantization codes in RAM to choose the way.

Subramanya et al. (2019), "DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single
Node", by the package ``diskannpy`` (extra ``diskann``). Two distributions go by that name,
``diskannpy-rust`` and the older ``diskannpy`` in C++ (Python up to 3.11); either will do, but only
the one that built an index opens it.

Its graph never changes. Rows added later wait beside it, scanned exactly, as in "FreshDiskANN"
(Singh et al., 2021); once they are too many, the graph is built anew. Deletes leave tombstones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.diskann_graph import DiskGraph
from ragopt.indexes.rescoring import appended, rescored
from ragopt.indexes.rows import RowFile
from ragopt.indexes.scoring import MISSING, BestOf, Metric, Positions, Vectors, score_block
from ragopt.indexes.trained import check_counts
from ragopt.indexes.whole import WholeIndex

__all__ = ["DiskannIndex", "DiskannOptions"]

_FRESH_SHARE = 10  # of the rows in the graph, those beside it may be one in so many
_SCAN_SHARE = 4  # a filtered walk that would look at more than one in so many is a scan


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskannOptions:
    """Options of ``diskann``.

    Args:
        r: links of a row.
        build_complexity: breadth of the search while building.
        pq_bytes: of a row's code in RAM; 0 for one to 4 dimensions.
        beam: nodes read in one round.
        complexity: breadth of a query when neither the call nor tuning says otherwise.
        fresh_rows: rows that may wait beside the graph, as f32 in RAM, scanned exactly; or a tenth
            of those in it, where that is more. An `add` beyond builds the graph anew.
    """

    r: int = 64
    build_complexity: int = 100
    pq_bytes: int = 0
    beam: int = 4
    complexity: int = 32
    fresh_rows: int = 1000

    def __post_init__(self) -> None:
        check_counts("diskann", 0, pq_bytes=self.pq_bytes)
        graph = {"r": self.r, "build_complexity": self.build_complexity, "beam": self.beam}
        check_counts("diskann", 1, **graph, complexity=self.complexity, fresh_rows=self.fresh_rows)


class DiskannIndex(WholeIndex):
    """O(log n) node reads a query; RAM of pq_bytes a vector.

    Nodes are read past the page cache. The results are scored again by rows of our own, which
    stand on disk a second time: filters, truths and the next graph need them. The package draws
    without a seed, so two builds differ.
    """

    family = "diskann"
    options_type = DiskannOptions
    knobs: ClassVar = {"complexity": (10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)}

    def __init__(self, options: DiskannOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._file = RowFile(dim, "f32")
        self._graph: DiskGraph | None = None
        self._fresh: Vectors = np.empty((0, dim), dtype=np.float32)

    @property
    def _linked(self) -> int:
        """Rows in the graph; those after them are fresh."""
        return 0 if self._graph is None else self._graph.rows

    def _append(self, vectors: Vectors) -> None:
        codes = self.options.pq_bytes
        if codes > self.dim:
            raise InputError(
                f"diskann: pq_bytes={codes} exceed the {self.dim} dimensions; pass pq_bytes <= "
                f"{self.dim}"
            )
        DiskGraph.check_installed()
        fresh = np.concatenate([self._fresh, vectors])
        with appended(self._file, vectors):
            if len(fresh) > max(self.options.fresh_rows, self._linked // _FRESH_SHARE):
                self._graph = DiskGraph.build(self._file, self.options, self.metric)
                fresh = fresh[:0].copy()
        self._fresh = fresh

    def _nearest(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        complexity: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        breadth = complexity or self.options.complexity
        if self._graph is None:
            return self._scan(queries, k, np.arange(self._rows) if allowed is None else allowed)
        width = k
        if allowed is not None:
            linked = int(np.searchsorted(allowed, self._linked))
            widened = max(k, breadth) * self._linked // max(1, linked)
            if widened * _SCAN_SHARE >= linked:
                return self._scan(queries, k, allowed)
            # The walk knows no filter: ask for as many as hold k that may be found, and to spare.
            width = breadth = widened
        found, walked = self._graph.search(queries, min(width, self._linked), breadth)
        fresh = self._best_fresh(queries, k, allowed)
        found = np.concatenate([self._only(found, allowed), fresh], axis=1)
        positions, scores, read = rescored(self._file, queries, found, k, self.metric)
        stats = _together(walked, read)
        if allowed is not None:
            scanned = self._fill(queries, k, allowed, positions, scores)
            stats = replace(stats, codes_scanned=stats.codes_scanned + scanned)
        return positions, scores, stats

    def _only(self, found: Positions, allowed: Positions | None) -> Positions:
        if allowed is None:
            return found
        may = np.zeros(self._rows + 1, dtype=bool)  # the last for -1
        may[allowed] = True
        return np.where(may[found], found, MISSING)

    def _best_fresh(self, queries: Vectors, k: int, allowed: Positions | None) -> Positions:
        best = BestOf(len(queries), min(k, len(self._fresh)))
        places = np.arange(len(self._fresh))
        if allowed is not None:
            places = allowed[allowed >= self._linked] - self._linked
        if len(places):
            scores = score_block(queries, self._fresh[places], self.metric)
            best.offer(places + self._linked, scores)
        return best.positions

    def _fill(
        self, queries: Vectors, k: int, allowed: Positions, positions: Positions, scores: Vectors
    ) -> int:
        """Scan for the queries whose walk met too few that may be found; rows scanned."""
        short = np.flatnonzero((positions == MISSING).any(axis=1))
        if not len(short):
            return 0
        positions[short], scores[short], stats = self._scan(queries[short], k, allowed)
        return stats.codes_scanned

    def _stored(self, positions: Positions) -> Vectors:
        return self._file.read(positions)

    def _footprint(self) -> Footprint:
        ram, disk = {"fresh rows": self._fresh.nbytes}, {"rows": self._file.disk_bytes}
        if self._graph is not None:
            ram["codes"] = self._graph.ram_bytes
            disk["graph"] = self._graph.disk_bytes
        return Footprint.of(ram=ram, disk=disk)

    def _parts(self) -> dict[str, Any]:
        graph = {} if self._graph is None else self._graph.parts()
        count = np.array([self._rows], dtype="<i8")
        return {"rows": self._file.content(), "count": count, **graph}

    @classmethod
    def _load(
        cls, options: DiskannOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> DiskannIndex:
        index = cls(options, dim, metric)
        (rows,) = np.fromfile(parts["count"], "<i8").tolist()
        index._file = RowFile(dim, "f32", path=parts["rows"], count=rows)
        DiskGraph.check_installed()
        graph = {name: path for name, path in parts.items() if name.startswith("diskannpy")}
        if graph:
            index._graph = DiskGraph.open(graph, options)
        index._fresh = index._file.read(np.arange(index._linked, rows))
        return index


def _together(walked: SearchStats, read: SearchStats) -> SearchStats:
    """Of the walk and of the rescoring after it; no rounds where those of the walk are hidden."""
    return SearchStats(
        codes_scanned=walked.codes_scanned,
        pages_read=walked.pages_read + read.pages_read,
        bytes_read=walked.bytes_read + read.bytes_read,
        read_rounds=walked.read_rounds and walked.read_rounds + read.read_rounds,
    )
