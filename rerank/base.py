"""The reranker protocol: scores for candidate chunks, higher is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError

__all__ = [
    "Reranker",
    "check_scores",
    "checked_scores",
    "convex",
    "ordered",
    "passage",
    "rerank",
    "scorer_id",
]


@runtime_checkable
class Reranker(Protocol):
    """Anything that scores chunks for a question.

    Two attributes are optional. ``id`` names what the scale of the scores depends on (model,
    settings, word statistics): calibrations belong to one id. ``given`` is ``"probability"`` where
    the scores are probabilities already.
    """

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Scores (n,), higher is better, comparable within one call."""
        ...


def scorer_id(reranker: Reranker) -> str:
    """Whose scores they are: the scorer's id or, where it has none, the name of its type."""
    return str(getattr(reranker, "id", "") or type(reranker).__name__)


def passage(chunk: Chunk) -> str:
    """What scorers read of a chunk: its title, then its text."""
    return f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text


def rerank(
    reranker: Reranker, query: str, hits: Sequence[Hit], *, prior_weight: float = 0.0
) -> list[Hit]:
    """Hits in the reranker's order, best first; equal scores keep the order of arrival.

    Args:
        reranker: scores the chunks.
        query: the question.
        hits: as a search returned them.
        prior_weight: of the score that a hit arrived with, beside the reranker's own 1.0, each
            over its maximum: a search by vectors has computed the cosine already.

    Raises:
        InputError: the reranker returned another number of scores, or NaN; or a prior weight that
            is negative or not finite.
    """
    _check_prior(prior_weight)
    if not hits:
        return []
    scores = checked_scores(reranker, query, [hit.chunk for hit in hits])
    return ordered(hits, scores, prior_weight)


def ordered(hits: Sequence[Hit], scores: NDArray[np.float32], prior_weight: float) -> list[Hit]:
    """Hits by falling score, with the scores they arrived with at a weight; ties as they came.

    Raises:
        InputError: a prior weight that is negative or not finite.
    """
    _check_prior(prior_weight)
    if prior_weight:
        prior = np.array([hit.score for hit in hits], dtype=np.float32)
        scores = convex([scores, prior], [1.0, prior_weight])
    order = np.argsort(-scores, kind="stable")
    return [Hit(hits[place].chunk, float(scores[place])) for place in order]


def _check_prior(prior_weight: float) -> None:
    if not 0 <= prior_weight < math.inf:
        raise InputError(f"prior_weight={prior_weight}: expected a finite number >= 0")


def checked_scores(reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
    """Scores (n,) of a reranker that may be anybody's.

    Raises:
        InputError: it returned another number of scores, or NaN.
    """
    return check_scores(reranker, reranker.score(query, chunks), len(chunks))


def check_scores(reranker: Reranker, scores: ArrayLike, count: int) -> NDArray[np.float32]:
    """The scores (count,) that a reranker returned, as float32.

    Raises:
        InputError: as `checked_scores`.
    """
    values = np.asarray(scores, dtype=np.float32)
    if values.shape != (count,) or np.isnan(values).any():
        raise InputError(
            f"{type(reranker).__name__} returned shape {values.shape} with "
            f"{int(np.isnan(values).sum())} NaN for {count} chunks, expected a number each"
        )
    return values


def convex(scores: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Weighted sum (n,) of several scorers' scores, each over its largest absolute one.

    Over the absolute one, since logits may all be negative, or have a maximum next to zero.
    Keeps how much better one chunk is than the next, which ranks forget.
    """
    total = np.zeros(len(scores[0]), dtype=np.float32)
    for values, weight in zip(scores, weights, strict=True):
        top = float(np.abs(values).max(initial=0.0))
        total += weight * (values / top if top else values)
    return total
