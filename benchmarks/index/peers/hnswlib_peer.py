"""hnswlib: the HNSW of its inventors, f32 rows in RAM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened, padded

__all__ = ["Hnswlib"]

_FILE = "index.hnswlib"


class Hnswlib(Peer):
    """Graph and rows are read into RAM; threads are started by each call that asks for several."""

    name = "hnswlib"
    package = "hnswlib"
    knob = "ef"
    values = (10, 16, 24, 32, 48, 64, 96, 128)
    build_options: Mapping[str, Any] = {"m": 16, "ef_construction": 200, "space": "ip"}

    def __init__(self) -> None:
        self._index: Any = None
        self._count = 0

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(
            max_elements=len(vectors),
            M=self.build_options["m"],
            ef_construction=self.build_options["ef_construction"],
            random_seed=seed,
        )
        index.add_items(vectors, np.arange(len(vectors)), num_threads=threads)
        index.save_index(str(folder / _FILE))

    def open(self, folder: Path, *, count: int, dim: int) -> None:
        import hnswlib

        self._index = hnswlib.Index(space="ip", dim=dim)
        self._index.load_index(str(folder / _FILE), max_elements=count)
        self._count = count

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index = opened(self._index, self.name)
        width = min(k, self._count)
        index.set_ef(max(value, width))
        found, _ = index.knn_query(queries, k=width, num_threads=threads)
        return padded(found, k)

    def close(self) -> None:
        self._index = None
