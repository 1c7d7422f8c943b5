"""HNSW graph over f32 rows in RAM, by hnswlib (extra ``hnsw``)."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragopt.errors import BackendMissing, IndexCorrupt, StorageError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.hnsw import EF_GRID, GraphOptions
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors
from ragopt.indexes.whole import WholeIndex

__all__ = ["HnswlibIndex"]

_SPACES = {"cosine": "ip", "ip": "ip", "l2": "l2"}  # cosine rows arrive with length one
_FIRST_CAPACITY = 1024
_BOOKKEEPING_BYTES = 82  # of a row: lock, level, links above, label table; measured for 0.8


class HnswlibIndex(WholeIndex):
    """O(log n) a query; RAM of 4 dim + 8 m + some 100 bytes a vector, by its own allocation."""

    family = "hnswlib"
    options_type = GraphOptions
    knobs: ClassVar = {"ef_search": EF_GRID}

    def __init__(self, options: GraphOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._index = _module().Index(space=_SPACES[metric], dim=dim)

    def _append(self, vectors: Vectors) -> None:
        wanted = self._rows + len(vectors)
        if self._rows == 0:
            self._index.init_index(
                max_elements=max(wanted, _FIRST_CAPACITY),
                M=self.options.m,
                ef_construction=self.options.ef_construction,
                random_seed=self.seed,
            )
        elif wanted > self._index.get_max_elements():
            self._index.resize_index(max(wanted, 2 * self._index.get_max_elements()))
        self._index.add_items(vectors, np.arange(self._rows, wanted))

    def _nearest(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        ef_search: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        self._index.set_ef(max(k, ef_search or self.options.ef_search))
        keep = None
        if allowed is not None:
            mask = np.zeros(self._rows, dtype=bool)
            mask[allowed] = True
            keep = mask.item
        positions, distances = self._query(queries, k, keep)
        scores = -distances if self.metric == "l2" else 1 - distances
        return positions, scores.astype(np.float32), SearchStats()

    def _query(self, queries: Vectors, k: int, keep: Any) -> tuple[Positions, Vectors]:
        """Ask hnswlib, which refuses a whole batch when one query finds fewer than k."""
        try:
            return self._knn(queries, k, keep)
        except RuntimeError:
            return self._one_by_one(queries, k, keep)

    def _knn(self, queries: Vectors, k: int, keep: Any) -> tuple[Positions, Vectors]:
        threads = 1 if keep else -1  # a Python filter holds the interpreter lock
        found, distances = self._index.knn_query(queries, k=k, filter=keep, num_threads=threads)
        return found.astype(np.int64), distances

    def _one_by_one(self, queries: Vectors, k: int, keep: Any) -> tuple[Positions, Vectors]:
        """As many as each query can find, the rest filled up."""
        positions = np.full((len(queries), k), MISSING, dtype=np.int64)
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        for row, query in enumerate(queries):
            low, high = 0, k
            while low < high:
                width = (low + high + 1) // 2
                try:
                    found, away = self._knn(query[None], width, keep)
                except RuntimeError:
                    high = width - 1
                else:
                    low = width
                    positions[row, :width], distances[row, :width] = found, away
        return positions, distances

    def _stored(self, positions: Positions) -> Vectors:
        rows = self._index.get_items(positions, return_type="numpy")
        return np.asarray(rows, dtype=np.float32)

    def _footprint(self) -> Footprint:
        size = int(self._index.index_file_size()) if self._rows else 0
        kept = _BOOKKEEPING_BYTES * self._rows
        return Footprint.of(ram={"rows and graph": size, "bookkeeping": kept})

    def _parts(self) -> dict[str, Any]:
        if not self._rows:
            return {"graph": b""}
        with tempfile.TemporaryDirectory() as folder:  # hnswlib writes to a path only
            path = Path(folder) / "graph"
            self._index.save_index(str(path))
            content = path.read_bytes()
        expected = self._index.index_file_size()
        if len(content) != expected:  # hnswlib does not say when a disk is full
            raise StorageError(
                errno.ENOSPC,
                f"{Path(folder).parent}: hnswlib wrote {len(content)} of {expected} bytes; free "
                "some space there, or name another temporary folder in TMPDIR",
            )
        return {"graph": content}

    @classmethod
    def _load(
        cls, options: GraphOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> HnswlibIndex:
        index = cls(options, dim, metric)
        if parts["graph"].stat().st_size:
            try:
                index._index.load_index(str(parts["graph"]))
            except RuntimeError as error:
                raise IndexCorrupt(f"{parts['graph']}: hnswlib cannot read it ({error})") from error
        return index


def _module() -> Any:
    with contextlib.suppress(ImportError):
        import hnswlib

        return hnswlib
    raise BackendMissing("hnswlib", "hnsw", "the index family 'hnswlib'")
