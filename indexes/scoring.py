"""Scores of queries against rows, and the best of them, in plain numpy."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "BestOf",
    "Metric",
    "Positions",
    "Vectors",
    "exact_scores",
    "score_block",
    "unit_length",
]

Metric = Literal["cosine", "ip", "l2"]
Positions: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]

MISSING = -1
"""Id in a result where fewer than ``k`` vectors could be found."""


class BestOf:
    """The best k of what was offered so far, for many queries; ties go to the lower position.

    Args:
        queries: how many.
        k: how many to keep for each.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.positions = np.full((queries, k), MISSING, dtype=np.int64)
        self.scores = np.full((queries, k), -np.inf, dtype=np.float32)

    def offer(self, positions: Positions, scores: Vectors) -> None:
        """Take a block into account: positions (n,) ascending, scores (queries, n)."""
        k = self.positions.shape[1]
        block = np.broadcast_to(positions, scores.shape)
        if scores.shape[1] > k:
            kept = _best_columns(scores, k)
            scores = np.take_along_axis(scores, kept, axis=1)
            block = positions[kept]
        all_positions = np.concatenate([self.positions, block], axis=1)
        all_scores = np.concatenate([self.scores, scores], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
        self.positions = np.take_along_axis(all_positions, order, axis=1)
        self.scores = np.take_along_axis(all_scores, order, axis=1)


def _best_columns(scores: Vectors, k: int) -> Positions:
    """Columns (nq, k) of the best scores, ascending; of equal ones the first."""
    kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    worst = np.take_along_axis(scores, kept, axis=1).min(axis=1, keepdims=True)
    # A partition takes any of the scores that tie for the last place.
    tied = np.count_nonzero(scores >= worst, axis=1) > k
    for row in np.flatnonzero(tied):
        kept[row] = np.argsort(-scores[row], kind="stable")[:k]
    return np.sort(kept, axis=1)


def score_block(queries: Vectors, rows: Vectors, metric: Metric) -> Vectors:
    """Scores (nq, n) of queries against a block of rows."""
    if metric != "l2":
        return np.asarray(queries @ rows.T, dtype=np.float32)
    # |q - r|^2 = |q|^2 + |r|^2 - 2 qr loses all its digits far from the origin, so go near it.
    centre = queries.mean(axis=0)
    queries, rows = queries - centre, rows - centre
    squares = np.einsum("ij,ij->i", rows, rows) + (queries**2).sum(axis=1, keepdims=True)
    return np.asarray(np.minimum(2 * (queries @ rows.T) - squares, 0), dtype=np.float32)


def exact_scores(query: Vectors, rows: Vectors, metric: Metric) -> Vectors:
    """Scores (n,) of one query (dim,) against rows (n, dim); cosine rows have length one."""
    if metric == "l2":
        return np.asarray(-((rows - query) ** 2).sum(axis=1), dtype=np.float32)
    return np.asarray(rows @ query, dtype=np.float32)


def unit_length(rows: Vectors) -> Vectors:
    """Rows scaled to length one; zero rows stay."""
    # In float64 the squares of tiny rows do not vanish.
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
    lengths[lengths == 0] = 1
    unit = np.empty_like(rows)
    np.divide(rows, lengths, out=unit, casting="same_kind")
    return unit
