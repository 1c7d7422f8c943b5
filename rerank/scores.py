"""What a scorer says of one call: its scores, what it read in part, what it was billed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk, Hit
from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker, check_scores, checked_scores, ordered

__all__ = [
    "Quoting",
    "Reranked",
    "Scores",
    "TellingReranker",
    "below",
    "merged",
    "order_of_arrival",
    "quote_of",
    "reranked",
    "scores_of",
]

_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one call, and what the call did.

    Args:
        values: (n,) float32, higher is better.
        read_in_part: places of the chunks that were longer than the scorer reads.
        duplicates: place of each near-duplicate that was not scored, and place of what it repeats.
        calls: requests that models or providers were sent.
        usage: tokens billed for them.
        usd: US dollars billed; None where something was billed and no price is known.
        failed: why the scores are but the order of arrival; empty where they are not.
        notes: what else the scorer did: chunks left out, answers that could not be read.
    """

    values: NDArray[np.float32]
    read_in_part: tuple[int, ...] = ()
    duplicates: tuple[tuple[int, int], ...] = ()
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    usd: Decimal | None = _NOTHING
    failed: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [f"{len(self.values)} scored"]
        if self.read_in_part:
            told.append(f"{len(self.read_in_part)} read in part")
        if self.duplicates:
            told.append(f"{len(self.duplicates)} near-duplicates")
        if self.calls:
            told.append(f"{self.calls} calls")
        if self.usd is None:
            told.append("at an unknown price")
        elif self.usd:
            told.append(f"${self.usd}")
        return ", ".join([*told, *self.notes])


@runtime_checkable
class Quoting(Protocol):
    """A scorer that says beforehand what a call will cost."""

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars, by its own estimate; None where no price is known."""
        ...


class TellingReranker(ABC):
    """A scorer that says of each call what it did; one with `scored` is asked for that."""

    @abstractmethod
    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Scores, and what the call did."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Scores (n,) alone."""
        return self.scored(query, chunks).values


def scores_of(reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> Scores:
    """Scores of any scorer, with what it says of the call where it says something.

    Raises:
        InputError: another number of scores than chunks, or NaN.
    """
    scored = getattr(reranker, "scored", None)
    if not callable(scored):
        return Scores(values=checked_scores(reranker, query, chunks))
    found = scored(query, chunks)
    if not isinstance(found, Scores):
        name = type(reranker).__name__
        raise InputError(f"{name}.scored() returned {type(found).__name__}, expected a Scores")
    return replace(found, values=check_scores(reranker, found.values, len(chunks)))


def quote_of(reranker: Reranker, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
    """US dollars of a call beforehand; 0 for a scorer that bills nothing, None where unknown."""
    return reranker.quote(query, chunks) if isinstance(reranker, Quoting) else _NOTHING


@dataclass(frozen=True, slots=True)
class Reranked:
    """Hits in a new order.

    Args:
        hits: best first; as they arrived where the scorer failed.
        scores: what the scorer said, in the order of arrival.
    """

    hits: tuple[Hit, ...]
    scores: Scores


def reranked(
    reranker: Reranker, query: str, hits: Sequence[Hit], *, prior_weight: float = 0.0
) -> Reranked:
    """`ragopt.rerank.rerank`, with what the scorer says of the call.

    A scorer that reports its own failure leaves hits and their scores as they arrived.

    Raises:
        InputError: as `ragopt.rerank.rerank`.
    """
    if not hits:
        return Reranked((), Scores(values=np.empty(0, dtype=np.float32)))
    scores = scores_of(reranker, query, [hit.chunk for hit in hits])
    if scores.failed:
        return Reranked(tuple(hits), scores)
    return Reranked(tuple(ordered(hits, scores.values, prior_weight)), scores)


def order_of_arrival(count: int) -> NDArray[np.float32]:
    """Scores that keep the order: 0 for the first, falling to -1."""
    return np.asarray(-np.arange(count) / max(1, count - 1), dtype=np.float32)


def below(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Falling scores (count,) under all the given ones; only their order means something."""
    finite = values[np.isfinite(values)].astype(np.float64)
    least, spread = (float(finite.min()), float(np.ptp(finite))) if finite.size else (0.0, 0.0)
    # Wide enough that float32 still tells neighbours apart.
    step = max(spread / max(1, finite.size), abs(least) * 1e-3, 1e-3)
    return np.asarray(least - step * np.arange(1, count + 1), dtype=np.float32)


def merged(parts: Sequence[Scores], values: NDArray[np.float32]) -> Scores:
    """What several scorers did for one call, with the scores that were made of theirs."""
    prices = [part.usd for part in parts]
    known = [price for price in prices if price is not None]
    return Scores(
        values=values,
        read_in_part=tuple(sorted({place for part in parts for place in part.read_in_part})),
        duplicates=tuple(sorted({pair for part in parts for pair in part.duplicates})),
        calls=sum(part.calls for part in parts),
        usage=sum((part.usage for part in parts), Usage()),
        usd=sum(known, _NOTHING) if len(known) == len(prices) else None,
        notes=tuple(
            note
            for part in parts
            for note in (*part.notes, *([f"failed: {part.failed}"] if part.failed else []))
        ),
    )
