"""The exact answers, and the judgement of what a candidate returned. Parent process only.

Neither is ever written down: what a candidate could read it could return.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.index.split import Split
from ragopt.errors import InputError
from ragopt.indexes.base import SearchResult, SearchStats
from ragopt.indexes.scoring import MISSING, BestOf, Positions, Vectors, score_block
from ragopt.indexes.tuning import recall_per_query

__all__ = ["Truth", "recalls_of"]

_BLOCK_ROWS = 1 << 13


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Exact results of the queries of one part.

    Args:
        base: rows that are searched.
        queries: (nq, dim).
        exact: their k best rows by inner product.
    """

    base: Vectors
    queries: Vectors
    exact: SearchResult

    @classmethod
    def of(cls, split: Split, k: int) -> tuple[Truth, Truth]:
        """Of the tuning and of the report queries; one scan of the base."""
        both = np.concatenate([split.tuning, split.report])
        best = BestOf(len(both), k)
        for start in range(0, len(split.base), _BLOCK_ROWS):
            rows = split.base[start : start + _BLOCK_ROWS]
            best.offer(np.arange(start, start + len(rows)), score_block(both, rows, "ip"))
        parts = []
        for queries, of in (
            (split.tuning, slice(0, len(split.tuning))),
            (split.report, slice(len(split.tuning), None)),
        ):
            exact = SearchResult(best.positions[of], best.scores[of], SearchStats())
            parts.append(cls(base=split.base, queries=queries, exact=exact))
        return parts[0], parts[1]

    def of_rows(self, rows: NDArray[np.int64]) -> Truth:
        """Of some of the queries, which may repeat."""
        exact = SearchResult(self.exact.ids[rows], self.exact.scores[rows], SearchStats())
        return Truth(base=self.base, queries=self.queries[rows], exact=exact)

    def hits(self, ids: NDArray[np.generic]) -> list[int]:
        """How many queries had 0, 1, …, k of their results right; (k + 1) counts.

        Scores are worked out here from the base, whatever the candidate thought; an id that is
        out of range or repeats within its row counts for nothing.

        Raises:
            InputError: not (nq, k) integers.
        """
        k = self.exact.ids.shape[1]
        if ids.shape != self.exact.ids.shape or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(
                f"returned ids of shape {ids.shape} and dtype {ids.dtype}; expected "
                f"{self.exact.ids.shape} of int64"
            )
        known = _sound(ids.astype(np.int64), len(self.base))
        found = SearchResult(known, self._scores(known), SearchStats())
        recalls = recall_per_query(found, self.exact)
        right = np.rint(recalls * min(k, len(self.base))).astype(np.int64)
        return [int(count) for count in np.bincount(right, minlength=k + 1)]

    def _scores(self, ids: Positions) -> Vectors:
        scores = np.full(ids.shape, -np.inf, dtype=np.float32)
        step = max(1, _BLOCK_ROWS // ids.shape[1])
        for start in range(0, len(ids), step):
            block = ids[start : start + step]
            rows = np.asarray(self.base[np.maximum(block, 0)])
            found = np.einsum("qkd,qd->qk", rows, self.queries[start : start + step])
            scores[start : start + step] = np.where(block == MISSING, -np.inf, found)
        return scores


def recalls_of(hits: list[int], wanted: int) -> NDArray[np.float64]:
    """Recall of each query, ascending, from the counts of `Truth.hits`.

    Args:
        hits: queries with 0, 1, … right results.
        wanted: results that a perfect search returns: k, or the size of a smaller base.
    """
    return np.repeat(np.arange(len(hits)) / wanted, hits)


def _sound(ids: Positions, rows: int) -> Positions:
    """Ids with those out of range, and all but the first of those that repeat, made -1."""
    sound = np.where((ids >= 0) & (ids < rows), ids, MISSING)
    order = np.argsort(sound, axis=1, kind="stable")
    ordered = np.take_along_axis(sound, order, axis=1)
    repeats = np.zeros(ids.shape, dtype=bool)
    np.put_along_axis(repeats, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.where(repeats, MISSING, sound)
