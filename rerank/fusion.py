"""Several scorers made one: by rank, or by a weighted sum of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker, convex, scorer_id
from ragopt.rerank.scores import Scores, TellingReranker, merged, quote_of, scores_of

__all__ = ["ConvexReranker", "FusionReranker", "reciprocal_rank_fusion"]


def reciprocal_rank_fusion(
    scores: Sequence[ArrayLike], *, k: int = 60, weights: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Fused scores (n,): the weighted sum of ``1 / (k + rank)`` over the scorers.

    Cormack, Clarke and Büttcher (2009), "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods"; k=60 is theirs. Equal scores share the better rank.

    Args:
        scores: one (n,) array a scorer, over the same items.
        k: damps the weight of the first ranks.
        weights: one a scorer, >= 0; equal by default.

    Raises:
        InputError: no scorer, lengths that differ, NaN, bad weights, or k below 1.
    """
    lists = [np.asarray(values, dtype=np.float64) for values in scores]
    shares = _weights(weights, len(lists))
    if not lists or len({values.shape for values in lists}) != 1 or lists[0].ndim != 1:
        raise InputError(
            f"scores: shapes {[values.shape for values in lists]}, expected equal (n,)"
        )
    if any(np.isnan(values).any() for values in lists):
        raise InputError("scores: NaN has no rank; expected numbers")
    if k < 1:
        raise InputError(f"k={k}: expected at least 1")
    fused = np.zeros(lists[0].shape)
    for values, share in zip(lists, shares, strict=True):
        ascending = np.sort(values)
        rank = 1 + len(values) - np.searchsorted(ascending, values, side="right")
        fused += share / (k + rank)
    return fused.astype(np.float32)


class FusionReranker(TellingReranker):
    """Reciprocal rank fusion of several rerankers.

    Args:
        rerankers: their scores need not be comparable.
        weights: one a reranker; equal by default.
        k: see `reciprocal_rank_fusion`.
    """

    def __init__(
        self, rerankers: Sequence[Reranker], *, weights: Sequence[float] | None = None, k: int = 60
    ) -> None:
        self._rerankers = tuple(rerankers)
        self._weights = _weights(weights, len(self._rerankers))
        self._k = k

    @property
    def id(self) -> str:
        """Of every scorer, their weights and k."""
        return f"rrf(k={self._k}, {_named(self._rerankers, self._weights)})"

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Fused scores (n,), and what the parts did."""
        parts = [scores_of(reranker, query, chunks) for reranker in self._rerankers]
        values = [part.values for part in parts]
        return merged(parts, reciprocal_rank_fusion(values, k=self._k, weights=self._weights))

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of all parts; None where one is unknown."""
        return _sum(quote_of(reranker, query, chunks) for reranker in self._rerankers)

    def __repr__(self) -> str:
        return f"FusionReranker({list(self._rerankers)!r}, weights={list(self._weights)})"


class ConvexReranker(TellingReranker):
    """Weighted sum of several rerankers' scores; see `ragopt.rerank.base.convex`.

    Args:
        rerankers: each scores higher for better; negative ones count against a chunk.
        weights: one a reranker; equal by default.
    """

    def __init__(
        self, rerankers: Sequence[Reranker], *, weights: Sequence[float] | None = None
    ) -> None:
        self._rerankers = tuple(rerankers)
        self._weights = _weights(weights, len(self._rerankers))

    @property
    def id(self) -> str:
        """Of every scorer, and their weights."""
        return f"convex({_named(self._rerankers, self._weights)})"

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Weighted sums (n,), and what the parts did."""
        parts = [scores_of(reranker, query, chunks) for reranker in self._rerankers]
        return merged(parts, convex([part.values for part in parts], self._weights))

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of all parts; None where one is unknown."""
        return _sum(quote_of(reranker, query, chunks) for reranker in self._rerankers)

    def __repr__(self) -> str:
        return f"ConvexReranker({list(self._rerankers)!r}, weights={list(self._weights)})"


def _named(rerankers: Sequence[Reranker], weights: Sequence[float]) -> str:
    return " + ".join(
        f"{weight:g} x {scorer_id(one)}" for one, weight in zip(rerankers, weights, strict=True)
    )


def _sum(prices: Iterable[Decimal | None]) -> Decimal | None:
    known = list(prices)
    return None if None in known else sum((one for one in known if one is not None), Decimal(0))


def _weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    if not count:
        raise InputError("no scorer to fuse; give at least one")
    shares = tuple(weights) if weights is not None else (1.0,) * count
    if len(shares) != count or not all(share >= 0 for share in shares) or not sum(shares):
        raise InputError(f"weights={weights}: expected {count} numbers >= 0, not all of them 0")
    return shares
