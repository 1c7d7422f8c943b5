"""Product-quantization codes in inverted lists, the best candidates rescored by rows on disk.

Jégou, Douze and Schmid (2011), "Product Quantization for Nearest Neighbor Search". The rotation of
``+opq`` is the parametric one of Ge et al. (2013), "Optimized Product Quantization", section 4:
one eigendecomposition instead of fifty rounds of training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.checks import check_range
from ragopt.indexes.faiss_io import faiss, from_bytes, metric_of, to_bytes
from ragopt.indexes.ivf import InvertedIndex
from ragopt.indexes.rescoring import appended, rescored
from ragopt.indexes.rows import ROW_DTYPES, RowFile
from ragopt.indexes.scoring import Metric, Positions, Vectors
from ragopt.indexes.trained import check_counts, training_of

__all__ = ["IvfPqIndex", "IvfPqOptions", "balanced_rotation"]

_DIMENSIONS_A_PART = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfPqOptions:
    """Options of ``ivfpq``.

    Args:
        m: parts of a vector, each of which becomes a number of ``bits``; 0 for one of 8
            dimensions each. Where ``m`` does not divide the dimension, vectors are filled up with
            zeros.
        bits: of a part's number, 4 to 8.
        lists: how many; 0 for 4 sqrt(n), drawn anew whenever rows have come to need four times as
            many. Never more than one for 39 rows.
        opq: rotate first, so that all parts tell equally much; in a spec also ``+opq``.
        rows: precision of the rows on disk that the best candidates are rescored with,
            ``"f16"`` or ``"f32"``; in a spec also ``+rescore(f16)``.
        nprobe: lists looked into when neither the call nor tuning says otherwise.
        oversampling: candidates to rescore for each result.
        train_rows: rows to wait for before training, at least ``2**bits``; so few are kept
            as f32 in RAM, too, and scanned exactly.
    """

    m: int = 0
    bits: int = 8
    lists: int = 0
    opq: bool = False
    rows: str = "f16"
    nprobe: int = 64
    oversampling: int = 8
    train_rows: int = 1000

    def __post_init__(self) -> None:
        check_counts("ivfpq", 0, m=self.m, lists=self.lists)
        counts = {"nprobe": self.nprobe, "oversampling": self.oversampling}
        check_counts("ivfpq", 1, **counts, train_rows=self.train_rows)
        if type(self.bits) is not int or not 4 <= self.bits <= 8:
            raise InputError(f"ivfpq: bits={self.bits!r}, expected an integer from 4 to 8")
        if self.train_rows < 1 << self.bits:
            raise InputError(
                f"ivfpq: train_rows={self.train_rows}, expected at least {1 << self.bits}, one "
                f"for each number of {self.bits} bits"
            )
        if not isinstance(self.opq, bool):
            raise InputError(f"ivfpq: opq={self.opq!r}, expected True or False")
        if self.rows not in ROW_DTYPES:
            raise InputError(f"ivfpq: rows={self.rows!r}, expected one of {sorted(ROW_DTYPES)}")


class IvfPqIndex(InvertedIndex):
    """m * bits / 8 + 8 bytes of RAM a vector, and the centres; one page read a candidate."""

    family = "ivfpq"
    options_type = IvfPqOptions

    def __init__(self, options: IvfPqOptions, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._file = RowFile(dim, options.rows)
        self._rotation: Vectors | None = None

    @property
    def _shape(self) -> tuple[int, int]:
        """Parts, and dimensions with the zeros that make them equal."""
        parts = self.options.m or -(-self.dim // _DIMENSIONS_A_PART)
        return parts, parts * -(-self.dim // parts)

    def _append(self, vectors: Vectors) -> None:
        if self.options.m > self.dim:
            raise InputError(
                f"ivfpq: m={self.options.m} parts exceed the {self.dim} dimensions; pass m <= "
                f"{self.dim}"
            )
        check_range(vectors, self._file.dtype)
        with appended(self._file, vectors):  # first, since a disk may be full
            super()._append(vectors)

    def _filled(self, total: int, rows_at: Callable[[Positions], Vectors]) -> Any:
        before = self._rotation
        try:
            return super()._filled(total, rows_at)
        except BaseException:
            self._rotation = before  # that of the engine, which stays
            raise

    def _learned(self, sample: Vectors, lists: int) -> Any:
        parts, width = self._shape
        self._rotation = None
        padded = self._turned(sample)
        if self.options.opq:
            self._rotation = balanced_rotation(padded, parts)
        centres = faiss().IndexFlat(width, metric_of(self.metric))
        engine = faiss().IndexIVFPQ(
            centres, width, lists, parts, self.options.bits, metric_of(self.metric)
        )
        self._prepare(engine)
        engine.pq.cp.seed = self.seed
        engine.pq.cp.min_points_per_centroid = 1
        engine.train(self._turned(sample))
        return _without_table(engine)

    def _encode(self, engine: Any, vectors: Vectors) -> None:
        engine.add(self._turned(vectors))

    def _turned(self, vectors: Vectors) -> Vectors:
        """Rows filled up with zeros and rotated: what the codes are made of."""
        _, width = self._shape
        padded = np.pad(vectors, ((0, 0), (0, width - self.dim)))
        if self._rotation is not None:
            padded = padded @ self._rotation
        return np.ascontiguousarray(padded, dtype=np.float32)

    def _found(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        nprobe: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        reachable = self._rows if allowed is None else len(allowed)
        breadth = min(reachable, self.options.oversampling * k)
        turned = self._turned(queries)
        found, _distances, scanned = self._probe(turned, breadth, k, allowed, nprobe)
        positions, scores, stats = rescored(self._file, queries, found, k, self.metric)
        return positions, scores, replace(stats, codes_scanned=scanned)

    def _stored(self, positions: Positions) -> Vectors:
        return self._file.read(positions)

    def _footprint(self) -> Footprint:
        return Footprint.of(ram=super()._footprint().by_part, disk={"rows": self._file.disk_bytes})

    def _engine_bytes(self) -> dict[str, int]:
        ram = {**self._lists_bytes(), "codebooks": 4 * self._engine.pq.centroids.size()}
        if self._rotation is not None:
            ram["rotation"] = self._rotation.nbytes
        return ram

    def _parts(self) -> dict[str, Any]:
        parts = {"rows": self._file.content(), **self._training_part()}
        if self._engine is None:
            return parts
        if self._rotation is not None:
            parts["rotation"] = self._rotation
        return {**parts, "codes": to_bytes(self._engine)}

    @classmethod
    def _load(
        cls, options: IvfPqOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> IvfPqIndex:
        seed, rows = training_of(parts["training"])
        index = cls(options, dim, metric, seed=seed)
        index._file = RowFile(dim, options.rows, path=parts["rows"], count=rows)
        if "codes" not in parts:
            index._waiting = index._file.read(np.arange(rows))
            return index
        index._engine = _without_table(from_bytes(parts["codes"]))
        if options.opq:
            _, width = index._shape
            index._rotation = np.fromfile(parts["rotation"], "<f4").reshape(width, width)
        return index


def balanced_rotation(rows: Vectors, parts: int) -> Vectors:
    """An orthogonal matrix after which all parts have equally much to tell.

    The principal axes go, the strongest first, each to the part whose product of variances is the
    smallest so far and that is not yet full: eigenvalue allocation of Ge et al. (2013), 4.2.

    Args:
        rows: (n, width); ``width`` is a multiple of ``parts``.
        parts: how many.

    Returns:
        (width, width); rows are multiplied by it from the left.
    """
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred / max(1, len(rows)))
    logs: NDArray[np.float64] = np.log(np.maximum(variances, 1e-12 * max(variances.max(), 1e-300)))
    share = rows.shape[1] // parts
    members: list[list[int]] = [[] for _ in range(parts)]
    weights = np.zeros(parts)
    for axis in np.argsort(-variances, kind="stable"):
        part = int(np.argmin(weights))
        members[part].append(int(axis))
        weights[part] += logs[axis] - logs.min()
        if len(members[part]) == share:
            weights[part] = np.inf
    order = [axis for part in members for axis in part]
    return np.ascontiguousarray(axes[:, order], dtype=np.float32)


def _without_table(engine: Any) -> Any:
    """Faiss's table for squared distances would take 1 KiB of RAM a part and list."""
    engine.use_precomputed_table = -1
    engine.precomputed_table.resize(0)
    return engine
