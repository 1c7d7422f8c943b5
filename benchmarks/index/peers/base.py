"""What the harness asks of every library it measures: build into a folder, open it, search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError

__all__ = ["Ids", "Peer", "Vectors", "opened", "padded"]

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


class Peer(ABC):
    """One candidate, through its library's own API, in a process of its own.

    A candidate is built in one process and searched in another, as a server would: whatever it
    needs stands in its folder. It is given vectors and queries, never the truth.

    Attributes:
        name: family, as in rows: ``hnswlib``, ``faiss-hnsw``, …
        package: distribution whose version the result records.
        knob: name of the search parameter that is swept.
        values: of the knob, cheapest first, dearest last; wide enough that recall@10 goes from
            below .90 to above .99 on 68,000 x 384 real vectors.
        disk_backed: rows or codes stay on disk and are read while searching; cold figures then
            need the index opened anew after the page cache is dropped.
        build_options: what it is built with, recorded with every figure.
    """

    name: str
    package: str
    knob: str = ""
    values: tuple[int, ...] = (0,)
    disk_backed: bool = False
    build_options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def build(self, vectors: Vectors, folder: Path, *, threads: int, seed: int) -> None:
        """Build over unit rows (n, dim), a read-only memory map, and save into an empty folder."""

    def load_library(self, dim: int) -> None:  # noqa: B027
        """Have the library load what every index of it needs, before memory and time are taken.

        Machine code that is compiled when it is first called belongs to it, as that of a shared
        library would: it is the same whatever the index holds.
        """

    @abstractmethod
    def open(self, folder: Path, *, count: int, dim: int) -> None:
        """Open what `build` saved, the way a server would, lazily where the library can."""

    @abstractmethod
    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:
        """Ids (nq, k) by inner product, best first, -1 where there are fewer."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files, maps and memory; `open` may follow."""

    def setting(self, value: int) -> str:
        """A value of the knob in words, as in ``ef=64``."""
        return f"{self.knob}={value}" if self.knob else "no knob"

    def read_rounds(self, value: int) -> float | None:  # noqa: ARG002
        """Dependent read rounds a query, where known from the design; None where it is not."""
        return None if self.disk_backed else 0.0


def opened(index: Any, name: str) -> Any:
    """The index, unless there is none.

    Raises:
        InputError: the peer is not open.
    """
    if index is None:
        raise InputError(f"{name}: not open; call open() before search()")
    return index


def padded(found: NDArray[Any], k: int) -> Ids:
    """Ids (nq, k) of those found, (nq, at most k), with -1 for what is missing."""
    ids = np.full((len(found), k), -1, dtype=np.int64)
    ids[:, : found.shape[1]] = found
    return ids
