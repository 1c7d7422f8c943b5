"""faiss: graphs and inverted lists in RAM, RaBitQ codes with rows behind a memory map.

Douze et al. (2024), "The Faiss library". Every index is one file, written by ``write_index``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened
from ragopt.benchmarks.index.peers.threads import faiss_threads

__all__ = [
    "FaissHnsw",
    "FaissHnswSq8",
    "FaissIvfPqRefine",
    "FaissIvfRabitqRefineMmap",
    "FaissPeer",
    "FaissRabitqRefineMmap",
]

_FILE = "index.faiss"
_EF_VALUES = (10, 16, 24, 32, 48, 64, 96, 128)
_POINTS_A_LIST = 39  # fewer, and faiss's k-means complains


class FaissPeer(Peer):
    """What all of them share; each says which index it is and how its knob is set."""

    package = "faiss-cpu"
    mapped = False
    """Read the file through a memory map, so that only what is touched comes into memory."""

    def __init__(self) -> None:
        self._index: Any = None

    @abstractmethod
    def factory(self, count: int, dim: int) -> str:
        """The index, as ``faiss.index_factory`` takes it."""

    @abstractmethod
    def set_knob(self, index: Any, value: int, k: int) -> None:
        """Search from now on with this value."""

    def prepare(self, index: Any, seed: int) -> None:
        """Set what the factory string cannot say, before training."""

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        count, dim = vectors.shape
        with faiss_threads(threads):
            index = _faiss().index_factory(
                dim, self.factory(count, dim), _faiss().METRIC_INNER_PRODUCT
            )
            self.prepare(index, seed)
            index.train(vectors)
            index.add(vectors)
            _faiss().write_index(index, str(folder / _FILE))

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        flags = _faiss().IO_FLAG_MMAP_IFC if self.mapped else 0
        self._index = _faiss().read_index(str(folder / _FILE), flags)

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index = opened(self._index, self.name)
        self.set_knob(index, value, k)
        with faiss_threads(threads):
            _, found = index.search(queries, k)
        return np.asarray(found, dtype=np.int64)

    def close(self) -> None:
        self._index = None


class FaissHnsw(FaissPeer):
    """HNSW over f32 rows, all in RAM: what most vector stores run."""

    name = "faiss-hnsw"
    knob = "ef_search"
    values = _EF_VALUES
    build_options: Mapping[str, Any] = {"factory": "HNSW16,Flat", "ef_construction": 200}

    def factory(self, count: int, dim: int) -> str:  # noqa: ARG002
        return str(self.build_options["factory"])

    def prepare(self, index: Any, seed: int) -> None:
        index.hnsw.efConstruction = self.build_options["ef_construction"]
        index.hnsw.rng = _faiss().RandomGenerator(seed)

    def set_knob(self, index: Any, value: int, k: int) -> None:
        index.hnsw.efSearch = max(value, k)


class FaissHnswSq8(FaissHnsw):
    """The same graph over rows of 8 bits a dimension."""

    name = "faiss-hnsw-sq8"
    build_options: Mapping[str, Any] = {"factory": "HNSW16_SQ8", "ef_construction": 200}


class FaissIvfPqRefine(FaissPeer):
    """Inverted lists of 4-bit PQ codes (FastScan), the best rescored by 8-bit rows, all in RAM.

    Of faiss's ways to refine, rows of 8 bits take a quarter of the f32 rows' memory and cost a
    thousandth of recall; PQ codes of dim / 8 bytes are scanned in registers.
    """

    name = "faiss-ivfpq-refine"
    knob = "nprobe"
    values = (8, 16, 32, 48, 64, 96, 128, 256)
    build_options: Mapping[str, Any] = {
        "factory": "IVF{nlist},PQ{dim/4}x4fs,Refine(SQ8)",
        "nlist": "4 sqrt(n), at most n / 39",
        "k_factor": 8,
    }

    def factory(self, count: int, dim: int) -> str:
        lists = _lists(count, 4.0)
        return f"IVF{lists},PQ{_subvectors(dim)}x4fs,Refine(SQ8)"

    def prepare(self, index: Any, seed: int) -> None:
        _seed_lists(index, seed)

    def set_knob(self, index: Any, value: int, k: int) -> None:  # noqa: ARG002
        index.k_factor = self.build_options["k_factor"]
        _faiss().extract_index_ivf(index).nprobe = value


class FaissRabitqRefineMmap(FaissPeer):
    """1-bit RaBitQ codes, all of them scanned, the best rescored by f32 rows left on disk.

    The file is mapped: codes and rows are page cache, RssAnon stays within a few megabytes. Rows
    are read by page faults, one after the other.
    """

    name = "faiss-rabitq-refine-mmap"
    knob = "candidates"
    values = (10, 15, 20, 30, 40, 60, 80, 120)
    disk_backed = True
    mapped = True
    build_options: Mapping[str, Any] = {
        "factory": "RaBitQfs,Refine(Flat)",
        "open": "IO_FLAG_MMAP_IFC",
    }

    def factory(self, count: int, dim: int) -> str:  # noqa: ARG002
        return str(self.build_options["factory"])

    def set_knob(self, index: Any, value: int, k: int) -> None:
        index.k_factor = max(value / k, 1.0)


class FaissIvfRabitqRefineMmap(FaissPeer):
    """The same codes in inverted lists, so that a query scans a part of them."""

    name = "faiss-ivf-rabitq-refine-mmap"
    knob = "nprobe"
    values = (4, 8, 16, 24, 32, 48, 64, 128)
    disk_backed = True
    mapped = True
    build_options: Mapping[str, Any] = {
        "factory": "IVF{nlist},RaBitQfs,Refine(Flat)",
        "nlist": "sqrt(n), at most n / 39",
        "k_factor": 6,
        "open": "IO_FLAG_MMAP_IFC",
    }

    def factory(self, count: int, dim: int) -> str:  # noqa: ARG002
        return f"IVF{_lists(count, 1.0)},RaBitQfs,Refine(Flat)"

    def prepare(self, index: Any, seed: int) -> None:
        _seed_lists(index, seed)

    def set_knob(self, index: Any, value: int, k: int) -> None:  # noqa: ARG002
        index.k_factor = self.build_options["k_factor"]
        _faiss().extract_index_ivf(index).nprobe = value


def _faiss() -> Any:
    import faiss

    return faiss


def _lists(count: int, factor: float) -> int:
    return max(1, min(int(factor * count**0.5), count // _POINTS_A_LIST))


def _subvectors(dim: int) -> int:
    """As many as have four dimensions or, where four does not divide, a few more."""
    return next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)


def _seed_lists(index: Any, seed: int) -> None:
    _faiss().extract_index_ivf(index).cp.seed = seed
