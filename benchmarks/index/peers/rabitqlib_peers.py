"""RaBitQ-Library, by RaBitQ's authors: codes in inverted lists, and SymphonyQG's graph.

Gao et al. (2025), "Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors
in Euclidean Space for Approximate Nearest Neighbor Search"; Gou et al. (2025), "SymphonyQG". Its
third index, HNSW over codes, stands between these two in speed and in memory and builds three
times as long as either, so that it is no candidate.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened, padded

__all__ = ["RabitqlibIvf", "RabitqlibQg"]

_FILE = "index.rabitq"
_POINTS_A_LIST = 39


class _RabitqlibPeer(Peer):
    package = "rabitqlib"

    def __init__(self) -> None:
        self._index: Any = None
        self._count = 0

    @abstractmethod
    def make(self, vectors: Vectors, threads: int, seed: int) -> Any:
        """Build an index."""

    @abstractmethod
    def read(self, path: str) -> Any:
        """Load one."""

    def breadth(self, value: int, k: int) -> int:  # noqa: ARG002
        """The value to search with."""
        return value

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        self.make(vectors, threads, seed).save(str(folder / _FILE))

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        self._index = self.read(str(folder / _FILE))
        self._count = count

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index = opened(self._index, self.name)
        width = min(k, self._count)
        found, _ = index.search(queries, width, self.breadth(value, width), num_threads=threads)
        return padded(found, k)

    def close(self) -> None:
        self._index = None


class RabitqlibIvf(_RabitqlibPeer):
    """Codes of 7 bits a dimension in inverted lists: small, quickly built, no rows kept."""

    name = "rabitqlib"
    knob = "nprobe"
    values = (8, 16, 32, 48, 64, 96, 128, 256)
    build_options: Mapping[str, Any] = {
        "index": "IvfIndex",
        "nbits": 7,
        "num_clusters": "4 sqrt(n), at most n / 39",
        "metric": "ip",
    }

    def make(self, vectors: Vectors, threads: int, seed: int) -> Any:
        import rabitqlib

        count, dim = vectors.shape
        clusters = max(1, min(int(4 * count**0.5), count // _POINTS_A_LIST))
        means = rabitqlib.RaBitQKMeans(
            dim,
            clusters,
            num_threads=threads,
            seed=seed,
            final_assignment=rabitqlib.FinalAssignmentMode.Exact,
        )
        means.train(vectors)
        index = rabitqlib.IvfIndex(dim, count, clusters, self.build_options["nbits"], "ip")
        index.build(vectors, means.centroids, means.assignments, num_threads=threads)
        return index

    def read(self, path: str) -> Any:
        import rabitqlib

        return rabitqlib.IvfIndex.load(path)


class RabitqlibQg(_RabitqlibPeer):
    """SymphonyQG over rows of 8 bits: the fastest walk; each row keeps its neighbours' codes."""

    name = "rabitqlib-qg"
    knob = "ef"
    values = (12, 16, 20, 24, 32, 48, 64, 96, 128)
    build_options: Mapping[str, Any] = {
        "index": "SymqgIndex",
        "max_degree": 32,
        "ef_construction": 200,
        "quantization_bits": 8,
        "metric": "ip",
    }

    def make(self, vectors: Vectors, threads: int, seed: int) -> Any:  # noqa: ARG002
        import rabitqlib

        options = self.build_options
        index = rabitqlib.SymqgIndex(
            vectors.shape[1], options["max_degree"], "ip", options["quantization_bits"]
        )
        index.build(vectors, options["ef_construction"], num_threads=threads)
        return index

    def read(self, path: str) -> Any:
        import rabitqlib

        return rabitqlib.SymqgIndex.load(path)

    def breadth(self, value: int, k: int) -> int:
        return max(value, k)
