"""usearch: HNSW over rows of two bytes a dimension, read into RAM or left behind a memory map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened, padded

__all__ = ["Usearch", "UsearchView"]

_FILE = "index.usearch"


class Usearch(Peer):
    """Read into RAM, as a server does whose index fits.

    Rows are of the type that usearch itself chooses for the CPU, on most bf16 or f16: both find
    what f32 finds, faster and in half the memory. Rows of 8 bits, which it scales all alike, stay
    below a recall@10 of 0.97 on MiniLM vectors and are no candidate.
    """

    name = "usearch"
    package = "usearch"
    knob = "expansion"
    values = (10, 16, 24, 32, 48, 64, 96, 128)
    build_options: Mapping[str, Any] = {
        "dtype": "usearch's choice for the CPU: bf16, f16 or f32",
        "connectivity": 16,
        "expansion_add": 200,
        "metric": "ip",
        "open": "load",
    }

    def __init__(self) -> None:
        self._index: Any = None

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:  # noqa: ARG002
        from usearch.index import Index

        index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            connectivity=self.build_options["connectivity"],
            expansion_add=self.build_options["expansion_add"],
        )
        index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=threads)
        index.save(str(folder / _FILE))

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        from usearch.index import Index

        view = self.build_options["open"] == "view"
        self._index = Index.restore(str(folder / _FILE), view=view)

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index = opened(self._index, self.name)
        index.expansion_search = value
        found = index.search(queries, k, threads=threads)
        if len(queries) == 1:  # as many as there are; of several queries, k of each
            return padded(found.keys[None], k)
        missing = np.arange(k) >= found.counts[:, None]
        return np.where(missing, -1, found.keys.astype(np.int64))

    def close(self) -> None:
        if self._index is not None:
            self._index.reset()  # unmaps at once, where the garbage collector may wait
        self._index = None


class UsearchView(Usearch):
    """Rows and graph stay on disk behind a memory map and are read while searching."""

    name = "usearch-view"
    disk_backed = True
    build_options: Mapping[str, Any] = {**Usearch.build_options, "open": "view"}
