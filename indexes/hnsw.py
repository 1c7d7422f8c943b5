"""HNSW graph over f32 rows in RAM, by faiss: what most vector stores run, and the baseline.

Malkov and Yashunin (2018), "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, PositionIndex, SearchStats
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

__all__ = ["FaissHnswIndex", "HnswOptions"]

EF_GRID = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswOptions:
    """Options of ``hnsw`` and ``hnswlib``.

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
        for name in ("m", "ef_construction", "ef_search"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 2:
                raise InputError(f"hnsw: {name}={value!r}, expected an integer of at least 2")


class FaissHnswIndex(PositionIndex):
    """O(log n) a query; RAM of 4 dim + 8 m + some 12 bytes a vector."""

    family = "hnsw"
    options_type = HnswOptions
    knobs: ClassVar = {"ef_search": EF_GRID}

    def __init__(self, options: HnswOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._index = faiss().IndexHNSWFlat(dim, options.m, metric_of(metric))
        self._index.hnsw.efConstruction = options.ef_construction
        self._index.hnsw.rng = faiss().RandomGenerator(seed)

    def _append(self, vectors: Vectors) -> None:
        self._index.add(vectors)

    def _nearest(
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
            distances, positions = self._index.search(queries, k, params=parameters)
        return (
            positions.astype(np.int64),
            similarity(distances, self.metric),
            SearchStats(codes_scanned=int(stats.ndis)),
        )

    def _stored(self, positions: Positions) -> Vectors:
        return np.asarray(self._index.reconstruct_batch(positions), dtype=np.float32)

    def _footprint(self) -> Footprint:
        graph = self._index.hnsw
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return Footprint.of(ram={"rows": 4 * self.dim * self._index.ntotal, "graph": links})

    def _parts(self) -> dict[str, Any]:
        return {"graph": to_bytes(self._index)}

    @classmethod
    def _load(
        cls, options: HnswOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> FaissHnswIndex:
        index = cls(options, dim, metric)
        index._index = from_bytes(parts["graph"])
        return index
