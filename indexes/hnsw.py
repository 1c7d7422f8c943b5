"""HNSW graph over f32 or 8-bit rows in RAM, by faiss: what most vector stores run.

Malkov and Yashunin (2018), "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import SearchStats
from ragopt.indexes.faiss_io import (
    faiss,
    from_bytes,
    metric_of,
    selector,
    similarity,
    threads_for,
    to_bytes,
)
from ragopt.indexes.scoring import Metric, Positions, Vectors
from ragopt.indexes.trained import SQ8_MARGIN, TrainedIndex, check_counts, training_of

__all__ = ["FaissHnswIndex", "GraphOptions", "HnswOptions"]

EF_GRID = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """Options of ``hnswlib``, and of ``hnsw`` too.

    Args:
        m: links of a row on the upper levels; twice as many on the lowest. 16 is what pgvector,
            Qdrant and hnswlib start from.
        ef_construction: breadth of the search while building.
        ef_search: breadth of a query when neither the call nor tuning says otherwise.
    """

    m: int = 16
    ef_construction: int = 200
    ef_search: int = 64

    def __post_init__(self) -> None:
        counts = {"m": self.m, "ef_construction": self.ef_construction}
        check_counts("hnsw", 2, **counts, ef_search=self.ef_search)


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswOptions(GraphOptions):
    """Options of ``hnsw``: those of `GraphOptions` and the rows.

    Args:
        rows: precision of the rows, ``"f32"`` or ``"sq8"``, 8 bits a dimension; in a spec also
            ``+sq8``.
        train_rows: rows to wait for before 8-bit rows take their ranges from them; so few are kept
            as f32 and scanned exactly. Of no meaning for f32.
    """

    rows: Literal["f32", "sq8"] = "f32"
    train_rows: int = 1000

    def __post_init__(self) -> None:
        GraphOptions.__post_init__(self)
        if self.rows not in {"f32", "sq8"}:
            raise InputError(f"hnsw: rows={self.rows!r}, expected 'f32' or 'sq8'")
        check_counts("hnsw", 1, train_rows=self.train_rows)


class FaissHnswIndex(TrainedIndex):
    """O(log n) a query; RAM of 4 dim, or dim for 8-bit rows, + 8 m + some 12 bytes a vector.

    The ranges of 8-bit rows come from the first ``train_rows`` rows or, where an `add` brings
    more, from all of those: add a representative part first.
    """

    family = "hnsw"
    options_type = HnswOptions
    knobs: ClassVar = {"ef_search": EF_GRID}

    @property
    def _enough(self) -> int:
        return 1 if self.options.rows == "f32" else int(self.options.train_rows)

    def _trained(self, rows: Vectors) -> Any:
        links, measure = self.options.m, metric_of(self.metric)
        if self.options.rows == "f32":
            engine = faiss().IndexHNSWFlat(self.dim, links, measure)
        else:
            engine = faiss().IndexHNSWSQ(self.dim, faiss().ScalarQuantizer.QT_8bit, links, measure)
            faiss().downcast_index(engine.storage).sq.rangestat_arg = SQ8_MARGIN
        engine.hnsw.efConstruction = self.options.ef_construction
        engine.hnsw.rng = faiss().RandomGenerator(self.seed)
        engine.train(rows)
        self._encode(engine, rows)
        return engine

    def _found(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        ef_search: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        breadth = max(k, ef_search or self.options.ef_search)
        if allowed is not None:
            # The walk goes over rows that may not be found, too: widen it by their share, and
            # scan where it would see more rows (2 m for each of its breadth) than may be found.
            breadth = breadth * self._rows // len(allowed)
            if breadth * 2 * self.options.m >= len(allowed):
                return self._scan(queries, k, allowed)
        stats = faiss().cvar.hnsw_stats  # one for the process: searches side by side share it
        stats.reset()
        with selector(allowed, self._rows) as chosen, threads_for(len(queries)):
            parameters = faiss().SearchParametersHNSW(efSearch=breadth, sel=chosen)
            distances, positions = self._engine.search(queries, k, params=parameters)
        return (
            positions.astype(np.int64),
            similarity(distances, self.metric),
            SearchStats(codes_scanned=int(stats.ndis)),
        )

    def _engine_bytes(self) -> dict[str, int]:
        graph, rows = self._engine.hnsw, faiss().downcast_index(self._engine.storage)
        return {
            "rows": rows.code_size * self._engine.ntotal,
            "graph": 4 * graph.neighbors.size()
            + 8 * graph.offsets.size()
            + 4 * graph.levels.size(),
        }

    def _parts(self) -> dict[str, Any]:
        if self._engine is None:
            return self._waiting_parts()
        return {"graph": to_bytes(self._engine)}

    @classmethod
    def _load(
        cls, options: HnswOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> FaissHnswIndex:
        if "graph" in parts:
            index = cls(options, dim, metric)
            index._engine = from_bytes(parts["graph"])
            return index
        seed, _ = training_of(parts["training"])
        index = cls(options, dim, metric, seed=seed)
        index._restore_waiting(parts["rows"])
        return index
