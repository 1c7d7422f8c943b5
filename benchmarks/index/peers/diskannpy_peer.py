"""DiskANN: a graph walked on disk, PQ codes in RAM to choose the way.

Subramanya et al. (2019), "DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single
Node". Two distributions import as ``diskannpy``: ``diskannpy-rust`` and the older ``diskannpy``
in C++ (Python up to 3.11); their disk indexes differ in what they ask for, not in what they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors, opened, padded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Diskannpy"]

_DIMENSIONS_A_BYTE = 4  # of a PQ code
_GIB = float(1 << 30)
_LEAST_BUILD_GIB = 2.0
_LEFT_BEHIND = ("mem.index.data", "sample_data.bin", "sample_ids.bin")  # by the older; never read


class Diskannpy(Peer):
    """Nodes are read with O_DIRECT: the page cache never helps, warm queries read as cold ones.

    Four nodes are read a round, as the paper advises: on 15,000 MiniLM vectors at a recall@10 of
    0.995 that made 39 reads in 11 rounds, where one at a time made 34 in 34.
    """

    name = "diskannpy"
    knob = "complexity"
    values = (10, 12, 14, 18, 24, 32, 48, 64)
    disk_backed = True
    build_options: Mapping[str, Any] = {
        "graph_degree": 64,
        "complexity": 100,
        "pq_bytes": "dim / 4",
        "metric": "l2 of unit rows",
        "nodes_to_cache": 0,
        "beam_width": 4,
        "build_memory": "2 GiB or three times the rows, all in one go",
    }

    def __init__(self) -> None:
        self.package = _distribution()
        self._index: Any = None
        self._count = 0
        self._hops: dict[int, float] = {}

    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:  # noqa: ARG002
        library = _module()
        count, dim = vectors.shape
        codes = max(1, dim // _DIMENSIONS_A_BYTE)
        if self.package == "diskannpy-rust":
            compression = {"num_of_pq_chunks": codes}
        else:
            compression = {"search_memory_maximum": count * (codes + 0.5) / _GIB}
        with _vector_file(library, vectors, folder) as path:
            library.build_disk_index(
                data=str(path),
                vector_dtype=np.float32,
                distance_metric="l2",
                index_directory=str(folder),
                complexity=self.build_options["complexity"],
                graph_degree=self.build_options["graph_degree"],
                build_memory_maximum=max(_LEAST_BUILD_GIB, 3 * vectors.nbytes / _GIB),
                num_threads=threads,
                **compression,
            )
        for name in _LEFT_BEHIND:
            (folder / f"ann_{name}").unlink(missing_ok=True)

    def open(self, folder: Path, *, count: int, dim: int) -> None:  # noqa: ARG002
        library = _module()
        workers = os.cpu_count() or 1
        if self.package == "diskannpy-rust":
            special = {"beam_width": self.build_options["beam_width"]}
        else:
            special = {"cache_mechanism": 0}
        self._index = library.StaticDiskIndex(
            index_directory=str(folder), num_threads=workers, num_nodes_to_cache=0, **special
        )
        self._count = count

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        index = opened(self._index, self.name)
        width = min(k, self._count)
        breadth = max(value, width)
        special = {}
        if self.package != "diskannpy-rust":
            special = {"beam_width": self.build_options["beam_width"]}
        if len(queries) == 1:
            found = index.search(queries[0], width, breadth, **special).identifiers[None]
        else:
            result = index.batch_search(queries, width, breadth, threads, **special)
            self._note(value, getattr(result, "search_stats", {}))
            found = result.identifiers
        return padded(found, k)

    def close(self) -> None:
        self._index = None

    def read_rounds(self, value: int) -> float | None:
        """At the least: the start node alone, then as many nodes a round as the beam is wide."""
        hops = self._hops.get(value)
        return None if hops is None else 1 + (hops - 1) / self.build_options["beam_width"]

    def _note(self, value: int, stats: Mapping[str, float]) -> None:
        if "mean_hops" in stats:
            self._hops[value] = float(stats["mean_hops"])


def _distribution() -> str:
    """The installed one of the two; that to be installed where there is none."""
    for name in ("diskannpy-rust", "diskannpy"):
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        return name
    return "diskannpy-rust"


def _module() -> Any:
    os.environ.setdefault("RUST_LOG", "error")  # else it writes two lines a query
    import diskannpy

    return diskannpy


@contextmanager
def _vector_file(library: Any, vectors: Vectors, folder: Path) -> Iterator[Path]:
    """The rows in DiskANN's own format, for as long as it builds; it would leave them behind."""
    path = folder / "rows.bin"
    library.vectors_to_file(str(path), vectors)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
