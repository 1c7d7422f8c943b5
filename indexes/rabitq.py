"""RaBitQ codes in RAM, full rows on disk: one read round rescoring the best estimates.

Gao and Long (2024), "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound
for Approximate Nearest Neighbor Search"; several bits: Gao et al. (2025). Codes by faiss. The
scan is linear, some 10 ns a vector: right up to about a million vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.checks import check_range
from ragopt.indexes.faiss_io import faiss, from_bytes, metric_of, selector, threads_for, to_bytes
from ragopt.indexes.rescoring import appended, rescored
from ragopt.indexes.rows import ROW_DTYPES, RowFile
from ragopt.indexes.scoring import Metric, Positions, Vectors
from ragopt.indexes.whole import WholeIndex

__all__ = ["RabitqIndex", "RabitqOptions"]

_CANDIDATES_A_RESULT = 4  # recall@10 of 0.98 at 1 bit on MiniLM vectors, 0.95 at 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RabitqOptions:
    """Options of ``rabitq``.

    Args:
        bits: of a code, per dimension, 1 to 8.
        rows: precision of the rows on disk that the best candidates are rescored with,
            ``"f16"`` or ``"f32"``; in a spec also ``+rescore(f16)``.
    """

    bits: int = 1
    rows: str = "f16"

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not 1 <= self.bits <= 8:
            raise InputError(f"rabitq: bits={self.bits!r}, expected an integer from 1 to 8")
        if self.rows not in ROW_DTYPES:
            raise InputError(f"rabitq: rows={self.rows!r}, expected one of {sorted(ROW_DTYPES)}")


class RabitqIndex(WholeIndex):
    """dim * bits / 8 + 8 to 20 bytes of RAM a vector; one page read a candidate.

    The first `add` fixes the centre that codes are relative to: add a representative part first.
    """

    family = "rabitq"
    options_type = RabitqOptions
    knobs: ClassVar = {"candidates": (10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480)}

    def __init__(self, options: RabitqOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._rotation, width = _rotation(dim, seed)
        self._codes = faiss().IndexRaBitQ(width, metric_of(metric), options.bits)
        self._file = RowFile(dim, options.rows)
        self._owner: Any = None  # of rotation and codes after loading

    def _append(self, vectors: Vectors) -> None:
        check_range(vectors, self._file.dtype)
        with appended(self._file, vectors):  # first, since a disk may be full
            rotated = self._rotation.apply(vectors)
            if not self._codes.is_trained:
                self._codes.train(rotated)
            self._codes.add(rotated)

    def _nearest(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        candidates: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        reachable = self._rows if allowed is None else len(allowed)
        breadth = min(reachable, max(k, candidates or _CANDIDATES_A_RESULT * k))
        found = self._estimate(queries, breadth, allowed)
        positions, scores, stats = rescored(self._file, queries, found, k, self.metric)
        return positions, scores, replace(stats, codes_scanned=self._rows * len(queries))

    def _estimate(self, queries: Vectors, breadth: int, allowed: Positions | None) -> Positions:
        with selector(allowed, self._rows) as chosen, threads_for(len(queries)):
            parameters = faiss().RaBitQSearchParameters(sel=chosen, qb=8)
            _, found = self._codes.search(self._rotation.apply(queries), breadth, params=parameters)
        return np.asarray(found, dtype=np.int64)

    def _stored(self, positions: Positions) -> Vectors:
        return self._file.read(positions)

    def _footprint(self) -> Footprint:
        ram = {
            "codes": self._codes.code_size * self._codes.ntotal,
            "rotation": _rotation_bytes(self._rotation),
            "centre": 4 * self._codes.d,
        }
        return Footprint.of(ram=ram, disk={"rows": self._file.disk_bytes})

    def _parts(self) -> dict[str, Any]:
        whole = faiss().IndexPreTransform(self._rotation, self._codes)
        return {"codes": to_bytes(whole), "rows": self._file.content()}

    @classmethod
    def _load(
        cls, options: RabitqOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> RabitqIndex:
        index = cls(options, dim, metric)
        whole = from_bytes(parts["codes"])
        index._rotation = faiss().downcast_VectorTransform(whole.chain.at(0))
        index._codes = faiss().downcast_index(whole.index)
        index._owner = whole
        index._file = RowFile(dim, options.rows, path=parts["rows"], count=index._codes.ntotal)
        return index


def _rotation(dim: int, seed: int) -> tuple[Any, int]:
    """A random rotation and the width of what it returns.

    A Hadamard transform with random signs where it need not pad, since it costs no memory; else
    a random orthogonal matrix of dim * dim floats.
    """
    if dim & (dim - 1) == 0 and dim >= 8:
        return faiss().HadamardRotation(dim, seed + 1), dim
    rotation = faiss().RandomRotationMatrix(dim, dim)
    rotation.init(seed + 1)
    return rotation, dim


def _rotation_bytes(rotation: Any) -> int:
    matrix = getattr(rotation, "A", None)
    return 4 * int(matrix.size()) if matrix is not None else 3 * int(rotation.d_out)
