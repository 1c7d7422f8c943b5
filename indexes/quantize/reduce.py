"""Fewer dimensions: the first ones, or those along which the vectors vary most."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.quantize.base import Reducer, check_integer, row_blocks
from ragopt.indexes.scoring import Vectors

__all__ = ["PCA", "Truncate"]


@dataclass(frozen=True)
class Truncate(Reducer[None]):
    """The first dimensions, for models trained to put the most into them: 4 * dims bytes alone.

    Kusupati et al. (2022), "Matryoshka Representation Learning".

    Args:
        dims: how many to keep.
        keep_length: stretch what is kept to the length of the whole vector, as such models are
            used with the cosine; False for a plain cut, which is the better reconstruction.

    Raises:
        InputError: no positive integer; when fitting, more dimensions than the vectors have.
    """

    dims: int
    _: KW_ONLY
    keep_length: bool = True

    def __post_init__(self) -> None:
        check_integer("dims", self.dims, 1)
        if not isinstance(self.keep_length, bool):
            raise InputError(f"keep_length={self.keep_length!r}: expected True or False")

    def _learn(self, rows: Vectors) -> None:
        _check_dims(self, rows.shape[1])

    def _reduce(self, rows: Vectors) -> Vectors:
        kept = rows[:, : self.dims]
        if not self.keep_length:
            return kept
        whole, part = (np.linalg.norm(side.astype(np.float64), axis=1) for side in (rows, kept))
        factor = np.divide(whole, part, out=np.ones_like(whole), where=part > 0)
        return np.asarray(kept * factor[:, None], dtype=np.float32)

    def _expand(self, reduced: Vectors) -> Vectors:
        rows = np.zeros((len(reduced), self.dim), dtype=np.float32)
        rows[:, : self.dims] = reduced
        return rows

    def _project(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        return queries[:, : self.dims], np.zeros((len(queries), 1), dtype=np.float32)

    def _locate(self, queries: Vectors) -> Vectors:
        return queries[:, : self.dims]


@dataclass(frozen=True, slots=True)
class _Axes:
    """Mean (dim,) and orthonormal rows (dims, dim), the widest variation first."""

    mean: Vectors
    rows: Vectors


@dataclass(frozen=True)
class PCA(Reducer[_Axes]):
    """The directions of most variance around the mean: 4 * dims bytes alone.

    Fitting takes O(n dim^2 + dim^3).

    Args:
        dims: how many directions to keep.

    Raises:
        InputError: no positive integer; when fitting, more than the vectors have dimensions, or
            no fewer than there are vectors.
    """

    dims: int

    def __post_init__(self) -> None:
        check_integer("dims", self.dims, 1)

    def _learn(self, rows: Vectors) -> _Axes:
        _check_dims(self, rows.shape[1])
        if len(rows) <= self.dims:
            raise InputError(
                f"{self}: {len(rows)} vectors vary in at most {max(len(rows) - 1, 0)} directions; "
                f"give more than {self.dims} or lower dims"
            )
        mean = rows.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((rows.shape[1], rows.shape[1]))
        for block in row_blocks(len(rows)):
            centred = rows[block] - mean
            scatter += centred.T @ centred
        _, directions = np.linalg.eigh(scatter)
        axes = directions[:, ::-1].T[: self.dims]
        # The sign of an eigenvector is the solver's choice; this one is the same everywhere.
        strongest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
        axes = axes * np.where(strongest < 0, -1.0, 1.0)
        return _Axes(mean.astype(np.float32), np.ascontiguousarray(axes, dtype=np.float32))

    def _reduce(self, rows: Vectors) -> Vectors:
        axes = self._state
        return np.asarray((rows - axes.mean) @ axes.rows.T, dtype=np.float32)

    def _expand(self, reduced: Vectors) -> Vectors:
        axes = self._state
        return np.asarray(axes.mean + reduced @ axes.rows, dtype=np.float32)

    def _project(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        axes = self._state
        return queries @ axes.rows.T, queries @ axes.mean[:, None]

    def _locate(self, queries: Vectors) -> Vectors:
        return self._reduce(queries)


def _check_dims(quantizer: Truncate | PCA, dim: int) -> None:
    if quantizer.dims > dim:
        raise InputError(f"{quantizer}: the vectors have {dim} dimensions; keep at most as many")
