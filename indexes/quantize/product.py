"""Product quantization: k-means in each of several subspaces, by faiss.

Jégou, Douze and Schmid (2011), "Product Quantization for Nearest Neighbor Search".
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.faiss_io import faiss
from ragopt.indexes.quantize.base import Codes, Quantizer, check_integer
from ragopt.indexes.quantize.packing import packed_bytes
from ragopt.indexes.scoring import Vectors

__all__ = ["ProductQuantizer"]

_MOST_BITS = 12
_LARGEST_SEED = (1 << 31) - 1  # faiss takes 32 bits
_DIMS_A_SUBSPACE = 8


@dataclass(frozen=True)
class ProductQuantizer(Quantizer[Vectors]):
    """The nearest of ``2 ** bits`` centroids in each subspace: subspaces * bits / 8 bytes.

    Fitting takes O(n dim 2^bits) an iteration, 25 of them on at most 256 rows a centroid.

    Args:
        subspaces: equal parts that a vector is cut into, a divisor of its dimensions; None for
            the largest divisor that leaves 8 or more dimensions to each.
        bits: 1 to 12; the fit needs ``2 ** bits`` vectors, better 40 times as many.
        seed: of the k-means.

    Raises:
        InputError: an option out of range; when fitting, too few vectors or dimensions that the
            subspaces do not divide.
    """

    subspaces: int | None = None
    _: KW_ONLY
    bits: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subspaces is not None:
            check_integer("subspaces", self.subspaces, 1)
        check_integer("bits", self.bits, 1, _MOST_BITS)
        check_integer("seed", self.seed, 0, _LARGEST_SEED)

    def _learn(self, rows: Vectors) -> Vectors:
        """Centroids (subspaces, 2 ** bits, dim / subspaces)."""
        parts, size = self._parts(rows.shape[1]), 1 << self.bits
        if rows.shape[1] % parts:
            raise InputError(
                f"{self}: {rows.shape[1]} dimensions cannot be cut into {parts} equal parts; "
                f"expected one of {_divisors(rows.shape[1])}"
            )
        if len(rows) < size:
            raise InputError(
                f"{self}: {len(rows)} vectors are too few for {size} centroids; give at least "
                f"{size}, better {40 * size:,}, or lower bits"
            )
        engine = self._engine(rows.shape[1])
        engine.cp.seed = self.seed
        engine.cp.min_points_per_centroid = 1  # faiss would print a warning
        engine.train(rows)
        learned: Vectors = faiss().vector_to_array(engine.centroids)
        return learned.reshape(parts, size, -1)

    def _code_bytes(self, dim: int) -> int:
        return packed_bytes(self._parts(dim), self.bits)

    def _encode(self, rows: Vectors) -> Codes:
        codes: Codes = self._trained().compute_codes(rows)
        return codes

    def _decode(self, codes: Codes) -> Vectors:
        rows: Vectors = self._trained().decode(np.ascontiguousarray(codes))
        return rows

    def _parts(self, dim: int) -> int:
        if self.subspaces is not None:
            return self.subspaces
        return max(count for count in _divisors(dim) if count <= max(1, dim // _DIMS_A_SUBSPACE))

    def _engine(self, dim: int) -> Any:
        return faiss().ProductQuantizer(dim, self._parts(dim), self.bits)

    def _trained(self) -> Any:
        """Made anew for every block, since faiss's own object could not be pickled."""
        engine = self._engine(self.dim)
        faiss().copy_array_to_vector(self._state.ravel(), engine.centroids)
        return engine


def _divisors(number: int) -> list[int]:
    return [count for count in range(1, number + 1) if number % count == 0]
