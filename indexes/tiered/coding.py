"""What stands for a vector: the lists it belongs to, and its codes there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.indexes.faiss_io import faiss
from ragopt.indexes.scoring import Vectors
from ragopt.indexes.tiered import kernels

__all__ = ["Coder", "Codes", "Rotation", "list_count"]

NO_LIST = -1

_ROUNDS = 4
_TRAINED_A_LIST = 64  # vectors; more no longer moved recall on MiniLM vectors
_ITERATIONS = 10
_NEIGHBOURS = 10  # lists that a second place is chosen from
_SAMPLED = 4096  # vectors that errors are measured on


def list_count(rows: int) -> int:
    """Lists for so many rows, at least one.

    Measured: 2 sqrt(n) did best at 67,000 rows, 4 sqrt(n) at a million, where codes no longer fit
    the processor's cache and scanning fewer of them is worth more centroids.
    """
    return max(1, min(rows // 32, round(math.pow(rows, 0.75) / 8)))


def training_rows(lists: int) -> int:
    """Vectors that k-means looks at for so many lists."""
    return lists * _TRAINED_A_LIST


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """A random rotation; vectors are padded with zeros to a multiple of 64 first.

    Args:
        signs: (rounds, padded dim) f32 of -1 and 1.
    """

    signs: NDArray[np.float32]

    @classmethod
    def drawn(cls, dim: int, seed: int) -> Rotation:
        padded = -(-dim // kernels.WORD) * kernels.WORD
        drawn = np.random.default_rng(seed).integers(0, 2, (_ROUNDS, padded))
        return cls((2 * drawn - 1).astype(np.float32))

    def __call__(self, vectors: Vectors) -> Vectors:
        """Rotated and padded copies (n, padded dim) of vectors (n, dim)."""
        rotated = np.zeros((len(vectors), self.signs.shape[1]), dtype=np.float32)
        rotated[:, : vectors.shape[1]] = vectors
        kernels.rotate(rotated, self.signs)
        return rotated


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Codes of n vectors, each in one list.

    Args:
        words: (n, bits, padded dim / 64) u64, bit planes.
        constants: (n,) f32, see `kernels.search`.
        scales: (n,) f32.
    """

    words: NDArray[np.uint64]
    constants: NDArray[np.float32]
    scales: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Coder:
    """Lists, and how a vector is coded in one.

    Args:
        dim: of vectors, before they are padded.
        rotation: of all vectors and queries.
        centroids: (lists, padded dim) f16, rotated.
        bits: of a code, a dimension.
        by_product: estimate -2 <x, q> instead of the squared distance.
        spill_below: a vector stands in a second list, too, if the squares of its distances to both
            centroids differ by no more than this factor; 0 for never, inf for always.
        spread: standard error of an estimate at scale 1 and |c - q| = 1.
        is_trained: whether lists were made from vectors.
    """

    dim: int
    rotation: Rotation
    centroids: NDArray[np.float16]
    bits: int
    by_product: bool
    spill_below: float
    spread: float = 0.0
    is_trained: bool = True

    @classmethod
    def untrained(cls, dim: int, *, bits: int, by_product: bool, seed: int) -> Coder:
        """One list around the origin, for an index without lists."""
        rotation = Rotation.drawn(dim, seed)
        origin = np.zeros((1, rotation.signs.shape[1]), dtype=np.float16)
        return cls(dim, rotation, origin, bits, by_product, 0.0, is_trained=False)

    @classmethod
    def trained(
        cls,
        vectors: Vectors,
        lists: int,
        *,
        bits: int,
        spill: float,
        by_product: bool,
        seed: int,
    ) -> Coder:
        """Lists by k-means.

        Args:
            vectors: (n, dim), a sample; `training_rows` of them are enough.
            lists: how many, at most n.
            bits: of a code.
            spill: lists that a vector stands in on average, from 1 to 2.
            by_product: see the class.
            seed: of rotation and k-means.
        """
        rotation = Rotation.drawn(vectors.shape[1], seed)
        rotated = rotation(vectors)
        means = faiss().Kmeans(
            rotated.shape[1],
            lists,
            niter=_ITERATIONS,
            seed=seed + 1,
            min_points_per_centroid=1,
            max_points_per_centroid=_TRAINED_A_LIST,
        )
        means.train(rotated)
        centroids: NDArray[np.float16] = means.centroids.astype(np.float16)
        dim = vectors.shape[1]
        always = cls(dim, rotation, centroids, bits, by_product, math.inf if lists > 1 else 0)
        sample = rotated[:: max(1, len(rotated) // _SAMPLED)]
        first, _, ratios = always._places(sample)
        below = 0.0
        if lists > 1 and spill > 1:
            below = math.inf if spill == 2 else float(np.quantile(ratios, spill - 1))
        error = always._error(sample, first)
        return cls(dim, rotation, centroids, bits, by_product, below, error)

    @classmethod
    def restored(
        cls,
        about: Mapping[str, Any],
        dim: int,
        rotation: Rotation,
        centroids: NDArray[np.float16],
        bits: int,
    ) -> Coder:
        """From what `about` said and the arrays."""
        below = math.inf if about["spill_below"] is None else about["spill_below"]
        return cls(
            dim,
            rotation,
            centroids,
            bits,
            about["by_product"],
            below,
            about["spread"],
            is_trained=about["is_trained"],
        )

    def about(self) -> dict[str, Any]:
        """What is not in the arrays, for JSON."""
        return {
            "by_product": self.by_product,
            "spill_below": None if math.isinf(self.spill_below) else self.spill_below,
            "spread": self.spread,
            "is_trained": self.is_trained,
        }

    @property
    def nbytes(self) -> int:
        """Of the centroids."""
        return self.centroids.nbytes

    @property
    def lists(self) -> int:
        """How many there are."""
        return len(self.centroids)

    @property
    def code_words(self) -> int:
        """Words of 64 bits of one code."""
        return int(self.bits * self.centroids.shape[1] // kernels.WORD)

    def assign(self, rotated: Vectors) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The list of each vector, and the second one or -1.

        Args:
            rotated: (n, padded dim).

        Returns:
            (n,) and (n,).
        """
        first, second, ratios = self._places(rotated)
        return first, np.where(ratios <= self.spill_below, second, np.int32(NO_LIST))

    def encode(self, rotated: Vectors, lists: NDArray[np.int32]) -> Codes:
        """Codes of vectors (n, padded dim) in the lists (n,) that they stand in."""
        centres = self.centroids[lists].astype(np.float32)
        residuals = rotated - centres
        codes = np.empty(rotated.shape, dtype=np.uint8)
        scales, cosines = (np.empty(len(rotated), dtype=np.float32) for _ in range(2))
        kernels.encode(residuals, self.bits, codes, scales, cosines)
        y = codes.astype(np.float32) - np.float32((1 << self.bits) - 1) / 2
        # |x - q|^2 = |r|^2 + |c - q|^2 - 2 <r, q - c>, with <r, q - c> = scale (<y, q> - <y, c>)
        constants = np.einsum("ij,ij->i", residuals, residuals)
        constants += 2 * scales * np.einsum("ij,ij->i", y, centres)
        if self.by_product:  # |x - q|^2 = |x|^2 + |q|^2 - 2 <x, q>
            constants -= np.einsum("ij,ij->i", rotated, rotated)
        words = np.empty((len(rotated), self.bits, rotated.shape[1] // kernels.WORD), np.uint64)
        for bit in range(self.bits):
            packed = np.packbits((codes >> bit) & 1, axis=1, bitorder="little")
            words[:, bit] = packed.view("<u8")
        return Codes(words, constants, 2 * scales)

    def _places(
        self, rotated: Vectors
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """First lists, second lists, and how much farther the second ones are.

        The second is the list whose residual is short and, above all, not along the first one:
        what the first list misses the second then finds (SOAR; Sun et al., 2023, "SOAR: Improved
        indexing for approximate nearest neighbor search").
        """
        middles = self.centroids.astype(np.float32)
        search = faiss().IndexFlatL2(middles.shape[1])
        search.add(middles)
        _, near = search.search(rotated, min(_NEIGHBOURS, len(middles)))
        first = near[:, 0].astype(np.int32)
        if len(middles) == 1 or self.spill_below == 0:
            nothing = np.full(len(first), NO_LIST, dtype=np.int32)
            return first, nothing, np.full(len(first), np.inf, dtype=np.float32)
        residuals = rotated - middles[first]
        squares = np.einsum("ij,ij->i", residuals, residuals)
        tiny = np.finfo(np.float32).tiny
        along = residuals / np.sqrt(np.maximum(squares, tiny))[:, None]
        others = np.empty((len(rotated), near.shape[1] - 1), dtype=np.float32)
        costs = np.empty_like(others)
        for place in range(1, near.shape[1]):
            other = rotated - middles[near[:, place]]
            others[:, place - 1] = np.einsum("ij,ij->i", other, other)
            costs[:, place - 1] = others[:, place - 1] + np.einsum("ij,ij->i", other, along) ** 2
        best = costs.argmin(axis=1)
        rows = np.arange(len(rotated))
        ratios = others[rows, best] / np.maximum(squares, tiny)
        return first, near[rows, 1 + best].astype(np.int32), ratios.astype(np.float32)

    def _error(self, rotated: Vectors, lists: NDArray[np.int32]) -> float:
        """Mean standard error of estimates at scale 1 and |c - q| = 1 (Gao and Long, 2024)."""
        residuals = rotated - self.centroids[lists].astype(np.float32)
        codes = np.empty(rotated.shape, dtype=np.uint8)
        scales, cosines = (np.empty(len(rotated), dtype=np.float32) for _ in range(2))
        kernels.encode(residuals, self.bits, codes, scales, cosines)
        known = scales > 0
        if not known.any():
            return 0.0
        lengths = np.linalg.norm(residuals[known], axis=1)
        tangents = np.sqrt(np.maximum(1 / cosines[known].astype(np.float64) ** 2 - 1, 0))
        errors = lengths * tangents / scales[known] / math.sqrt(max(1, rotated.shape[1] - 1))
        return float(errors.mean())
