"""The few faiss calls that several families share. faiss is imported on first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import IndexCorrupt
from ragopt.indexes.scoring import Metric, Positions, Vectors

__all__ = ["faiss", "from_bytes", "metric_of", "selector", "similarity", "threads_for", "to_bytes"]


@lru_cache(maxsize=1)
def faiss() -> Any:
    """The faiss module; some 0.1 s to import."""
    import faiss as module

    return module


def metric_of(metric: Metric) -> int:
    """Faiss's constant; cosine is the inner product of rows of length one."""
    return int(faiss().METRIC_L2 if metric == "l2" else faiss().METRIC_INNER_PRODUCT)


def similarity(distances: Vectors, metric: Metric) -> Vectors:
    """Scores where higher is nearer, of what faiss returns."""
    return np.asarray(-distances if metric == "l2" else distances, dtype=np.float32)


@contextmanager
def selector(allowed: Positions | None, rows: int) -> Iterator[Any]:
    """A faiss selector of positions, or None for all; it borrows a bitmap that lives as long."""
    if allowed is None:
        yield None
        return
    mask = np.zeros(rows, dtype=bool)
    mask[allowed] = True
    bitmap = np.packbits(mask, bitorder="little")
    yield faiss().IDSelectorBitmap(bitmap)


@contextmanager
def threads_for(queries: int) -> Iterator[None]:
    """One thread for a single query, whose parallel region would only wait for the others.

    On a busy machine that waiting cost eight times the search itself. The count is the calling
    thread's own, and is restored.
    """
    if queries > 1:
        yield
        return
    before = faiss().omp_get_max_threads()
    faiss().omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss().omp_set_num_threads(before)


def to_bytes(index: Any) -> NDArray[np.uint8]:
    """A faiss index as bytes."""
    return np.asarray(faiss().serialize_index(index), dtype=np.uint8)


def from_bytes(path: Path) -> Any:
    """Read what `to_bytes` made.

    Raises:
        IndexCorrupt: faiss cannot read it.
    """
    try:
        return faiss().deserialize_index(np.fromfile(path, dtype=np.uint8))
    except RuntimeError as error:
        raise IndexCorrupt(f"{path}: faiss cannot read it ({error}); build it again") from error
