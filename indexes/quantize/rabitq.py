"""RaBitQ codes of 1 to 8 bits a dimension, with their unbiased estimates.

Gao and Long (2024), "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound
for Approximate Nearest Neighbor Search"; several bits: Gao et al. (2025), "Practical and
Asymptotically Optimal Quantization of High-Dimensional Vectors in Euclidean Space for Approximate
Nearest Neighbor Search". In numpy, since faiss 1.15 decodes one bit of a code only.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.errors import InputError
from ragopt.indexes.quantize.base import Codes, Quantizer, check_integer
from ragopt.indexes.quantize.packing import pack, packed_bytes, unpack
from ragopt.indexes.scoring import Vectors

__all__ = ["RaBitQ"]

_FACTOR_BYTES = 8  # length of the residual and cosine of the code with it, float32 each
_FLOAT32 = np.finfo(np.float32)
# Scales to try, relative to the largest that clips no coordinate. At few bits the best one clips,
# at many it leaves the outermost levels empty. The search of
# the paper of 2025 through all scales there are would lower the mean squared sine by 1 % up to 4
# bits and by 10 % at 8, at 384 dimensions, for many times the work. Below ten dimensions some
# vectors would gain more.
_SCALES = np.geomspace(0.7, 2.5, 24).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where codes live: around a centre, in a randomly rotated space."""

    centre: Vectors
    rotation: Vectors


@dataclass(frozen=True)
class RaBitQ(Quantizer[_Frame]):
    """A grid direction near the rotated residual, and its length: dim * bits / 8 + 8 bytes.

    `similarities` and `distances` are the unbiased estimates of the papers, `error_bounds` how far
    off they may be. `decode` returns the row nearest to the encoded one instead, whose products
    come out too small. Encoding tries 24 scales a vector at 2 bits and more.

    Args:
        bits: of each dimension, 1 to 8.
        seed: of the rotation, a dense matrix of dim * dim float32.

    Raises:
        InputError: an option out of range.
    """

    bits: int = 1
    _: KW_ONLY
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 1, 8)
        check_integer("seed", self.seed, 0)

    def error_bounds(
        self,
        queries: ArrayLike,
        codes: NDArray[Any],
        *,
        of: Literal["similarities", "distances"] = "similarities",
        confidence: float = 0.95,
    ) -> Vectors:
        """How far each of the `similarities` or `distances` may be off, to either side.

        An estimate is off by the product of the code with the part of the query beside the
        residual. Under a random rotation that is a coordinate of a random direction in dim - 1
        dimensions, whose quantiles are known; theorem 3.2 of 2024 bounds them. The chance is that
        of the rotation, for one pair of query and vector.

        Args:
            queries: (nq, dim), or (dim,) for one.
            codes: (n, bytes_per_vector) as `encode` made them.
            of: what the bounds are for.
            confidence: share of the pairs whose error stays within; between 0 and 1.

        Returns:
            (nq, n) float32.

        Raises:
            InputError: not fitted, wrong shapes, NaN, another ``of``, or a confidence out of range.
        """
        if of not in ("similarities", "distances"):
            raise InputError(f"of={of!r}: expected 'similarities' or 'distances'")
        if not 0 < confidence < 1:
            raise InputError(f"confidence={confidence!r}: expected between 0 and 1")
        spread = _direction_quantile(self.dim, confidence)
        bounds = self._product_bounds if of == "similarities" else self._square_bounds
        return self._compare(queries, codes, partial(bounds, spread=spread))

    def _learn(self, rows: Vectors) -> _Frame:
        dim = rows.shape[1]
        gaussian = np.random.default_rng(self.seed).standard_normal((dim, dim))
        rotation, upper = np.linalg.qr(gaussian)
        rotation *= np.where(np.diag(upper) < 0, -1.0, 1.0)  # uniform among all rotations
        centre = rows.mean(axis=0, dtype=np.float64)
        return _Frame(centre.astype(np.float32), np.ascontiguousarray(rotation, dtype=np.float32))

    def _code_bytes(self, dim: int) -> int:
        return packed_bytes(dim, self.bits) + _FACTOR_BYTES

    def _encode(self, rows: Vectors) -> Codes:
        residual = np.asarray((rows - self._state.centre) @ self._state.rotation, np.float32)
        levels = _levels(residual, self.bits)
        grid = self._grid(levels)
        length = _lengths(residual)
        # A vector at the centre has no direction: any code is right, at length 0. Lengths below
        # the normal numbers of float32 have too few digits for one.
        length[length < _FLOAT32.tiny] = 0
        aligned = np.einsum("ij,ij->i", grid, residual)
        cosine = np.divide(
            aligned, length * _lengths(grid), out=np.ones_like(aligned), where=length > 0
        )
        factors = np.stack([length, cosine], axis=1).astype("<f4")
        return np.concatenate([pack(levels, self.bits), factors.view(np.uint8)], axis=1)

    def _decode(self, codes: Codes) -> Vectors:
        grid, (length, cosine) = self._points(codes), _factors(codes)
        nearest = grid * (length * cosine / _lengths(grid))[:, None]
        return np.asarray(self._state.centre + nearest @ self._state.rotation.T, dtype=np.float32)

    def _products(self, queries: Vectors, codes: Codes) -> Vectors:
        offset = queries @ self._state.centre[:, None]
        return np.asarray(offset + self._estimate(queries, codes), dtype=np.float32)

    def _squares(self, queries: Vectors, codes: Codes) -> Vectors:
        inner = queries - self._state.centre
        length, _ = _factors(codes)
        # In float64, since the sum passes the largest float32 where the distance itself may not.
        ends = _lengths(inner).astype(np.float64)[:, None] ** 2 + length.astype(np.float64) ** 2
        squares = ends - 2.0 * self._estimate(inner, codes)
        return np.clip(squares, 0, _FLOAT32.max).astype(np.float32)

    def _estimate(self, queries: Vectors, codes: Codes) -> Vectors:
        """Unbiased products with residuals: ``<q, code> / <o, code>``, theorem 3.2 of 2024."""
        grid, (length, cosine) = self._points(codes), _factors(codes)
        rotated = queries @ self._state.rotation
        return np.asarray((rotated @ grid.T) * (length / (cosine * _lengths(grid))))

    def _square_bounds(self, queries: Vectors, codes: Codes, *, spread: float) -> Vectors:
        return self._product_bounds(queries - self._state.centre, codes, spread=2 * spread)

    def _product_bounds(self, queries: Vectors, codes: Codes, *, spread: float) -> Vectors:
        length, cosine = _factors(codes)
        # Rounding in float32 hides what is smaller than its epsilon.
        tangent = np.sqrt(np.maximum(1 - cosine**2, _FLOAT32.eps)) / cosine
        widths = _lengths(queries)[:, None] * (length * tangent * spread)
        return np.asarray(widths, dtype=np.float32)

    def _points(self, codes: Codes) -> Vectors:
        """Grid points (n, dim) of codes."""
        packed = np.ascontiguousarray(codes[:, :-_FACTOR_BYTES])
        return self._grid(unpack(packed, self.dim, self.bits))

    def _grid(self, levels: Codes) -> Vectors:
        """Levels 0 to 2^bits - 1 as points around zero, a half-integer each."""
        return np.asarray(levels.astype(np.float32) - np.float32(((1 << self.bits) - 1) / 2))


def _factors(codes: Codes) -> tuple[Vectors, Vectors]:
    """Residual lengths (n,) and cosines (n,) of codes."""
    factors = np.ascontiguousarray(codes[:, -_FACTOR_BYTES:]).view("<f4").astype(np.float32)
    return factors[:, 0], factors[:, 1]


def _levels(residual: Vectors, bits: int) -> Codes:
    """Levels (n, dim) whose grid points have nearly the largest cosine with the residuals."""
    if bits == 1:
        return (residual > 0).astype(np.uint8)
    half = np.float32(1 << (bits - 1))
    largest = np.abs(residual).max(axis=1, keepdims=True)
    unclipped = half * np.divide(
        residual, largest, out=np.zeros_like(residual), where=largest > 0
    )  # in [-half, half]
    best = np.full(len(residual), -np.inf, dtype=np.float32)
    chosen: NDArray[np.float32] = np.ones(len(residual), dtype=np.float32)
    for scale in _SCALES:
        grid = np.clip(np.floor(unclipped * scale), -half, half - 1) + np.float32(0.5)
        cosine = np.einsum("ij,ij->i", grid, unclipped) / np.linalg.norm(grid, axis=1)
        better = cosine > best
        best[better], chosen[better] = cosine[better], scale
    places = np.clip(np.floor(unclipped * chosen[:, None]) + half, 0, 2 * half - 1)
    return np.asarray(places, dtype=np.uint8)


def _lengths(rows: Vectors) -> Vectors:
    # In float64 the squares of tiny rows do not vanish.
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _direction_quantile(dim: int, confidence: float) -> float:
    """What the first coordinate of a random direction in dim - 1 dimensions seldom exceeds.

    Its square is distributed as Beta(1/2, dim/2 - 1).
    """
    if dim < 3:  # one dimension beside the residual, or none
        return 1.0
    from scipy.special import betaincinv

    return float(np.sqrt(betaincinv(0.5, dim / 2 - 1, confidence)))
