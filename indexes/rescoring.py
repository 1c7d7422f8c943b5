"""Rows on disk beside codes or graphs in RAM: kept together, and candidates scored again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ragopt.indexes.base import SearchStats
from ragopt.indexes.rows import PAGE_BYTES, RowFile
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors, exact_scores

__all__ = ["appended", "rescored"]


@contextmanager
def appended(file: RowFile, rows: Vectors) -> Iterator[None]:
    """Add rows to a file; where the rest of the work fails, they are forgotten again.

    Raises:
        StorageError: the temporary folder is full.
    """
    before = file.count
    file.append(rows)
    try:
        yield
    except BaseException:
        file.count = before
        raise


def rescored(
    file: RowFile, queries: Vectors, candidates: Positions, k: int, metric: Metric
) -> tuple[Positions, Vectors, SearchStats]:
    """The k best candidates of each query by their rows, read in one round.

    Args:
        file: rows, by position.
        queries: (nq, dim).
        candidates: (nq, n) positions, -1 for none; repeated ones count once.
        k: how many to keep.
        metric: of the index.

    Returns:
        Positions and scores (nq, k), best first, -1 and -inf where there are fewer; what it cost.
    """
    positions = np.full((len(queries), k), MISSING, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    pages = 0
    for row, query in enumerate(queries):
        chosen = np.unique(candidates[row][candidates[row] != MISSING])
        pages += file.prefetch(chosen)
        exact = exact_scores(query, file.read(chosen), metric)
        best = np.argsort(-exact, kind="stable")[:k]
        positions[row, : len(best)] = chosen[best]
        scores[row, : len(best)] = exact[best]
    stats = SearchStats(pages_read=pages, bytes_read=pages * PAGE_BYTES, read_rounds=1)
    return positions, scores, stats
