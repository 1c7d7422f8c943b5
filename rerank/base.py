"""The reranker protocol: scores for candidate chunks, higher is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError

__all__ = ["Reranker", "passage", "rerank"]


@runtime_checkable
class Reranker(Protocol):
    """Anything that scores chunks for a question."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Scores (n,), higher is better, comparable within one call."""
        ...


def passage(chunk: Chunk) -> str:
    """What scorers read of a chunk: its title, then its text."""
    return f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text


def rerank(reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> list[Hit]:
    """Chunks as hits, best first; equal scores keep the order of arrival.

    Raises:
        InputError: the reranker returned another number of scores, or NaN.
    """
    if not chunks:
        return []
    scores = np.asarray(reranker.score(query, chunks), dtype=np.float32)
    if scores.shape != (len(chunks),) or np.isnan(scores).any():
        raise InputError(
            f"{type(reranker).__name__} returned shape {scores.shape} with "
            f"{int(np.isnan(scores).sum())} NaN for {len(chunks)} chunks, expected a number each"
        )
    order = np.argsort(-scores, kind="stable")
    return [Hit(chunks[place], float(scores[place])) for place in order]
