"""Exact search over rows in RAM: the truth that others are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.checks import check_range
from ragopt.indexes.scoring import BestOf, Metric, Positions, Vectors, score_block
from ragopt.indexes.whole import WholeIndex

__all__ = ["FlatIndex", "FlatOptions"]

_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2")}
_BLOCK_BYTES = 1 << 26  # of f32 rows or scores held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatOptions:
    """Options of ``flat``.

    Args:
        dtype: of the rows in RAM, ``"f32"`` or ``"f16"``.
    """

    dtype: Literal["f32", "f16"] = "f32"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise InputError(f"flat: dtype={self.dtype!r}, expected one of {sorted(_DTYPES)}")


class FlatIndex(WholeIndex):
    """Scans every row: O(n dim) a query, exact for f32."""

    family = "flat"
    options_type = FlatOptions

    def __init__(self, options: FlatOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._matrix: NDArray[Any] = np.empty((0, dim), dtype=_DTYPES[options.dtype])

    def _append(self, vectors: Vectors) -> None:
        check_range(vectors, self._matrix.dtype)
        added = vectors.astype(self._matrix.dtype, copy=False)
        self._matrix = np.concatenate([self._matrix, added])

    def _nearest(
        self, queries: Vectors, k: int, allowed: Positions | None, **_: int
    ) -> tuple[Positions, Vectors, SearchStats]:
        rows = len(self._matrix) if allowed is None else len(allowed)
        best = BestOf(len(queries), k)
        step = max(1, _BLOCK_BYTES // (4 * self.dim))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            if allowed is None:
                positions, block = np.arange(start, stop), self._matrix[start:stop]
            else:
                positions, block = allowed[start:stop], self._matrix[allowed[start:stop]]
            scores = score_block(queries, block.astype(np.float32, copy=False), self.metric)
            best.offer(positions, scores)
        return best.positions, best.scores, SearchStats(codes_scanned=rows * len(queries))

    def _stored(self, positions: Positions) -> Vectors:
        return np.asarray(self._matrix[positions], dtype=np.float32)

    def _footprint(self) -> Footprint:
        return Footprint.of(ram={"rows": self._matrix.nbytes})

    def _parts(self) -> dict[str, Any]:
        return {"rows": self._matrix}

    @classmethod
    def _load(
        cls, options: FlatOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> FlatIndex:
        index = cls(options, dim, metric)
        index._matrix = np.fromfile(parts["rows"], dtype=_DTYPES[options.dtype]).reshape(-1, dim)
        return index
