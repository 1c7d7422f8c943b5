"""Near-duplicates are put aside before anything is paid for, and rankings made diverse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.rerank.base import Reranker, convex, passage, scorer_id
from ragopt.rerank.scores import Scores, TellingReranker, below, quote_of, scores_of
from ragopt.shingles import Shingle, new_words, shingles, words

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["Deduplicated", "MMRReranker", "near_duplicates"]


def near_duplicates(texts: Sequence[str], *, containment: float = 0.85) -> dict[int, int]:
    """Place of each text that repeats another one, and place of the one it repeats.

    The measure is the containment of word 3-shingles (Broder, 1997, "On the resemblance and
    containment of documents"): the share of a text's shingles that stand in the other. A text that
    brings a word of its own, articles aside, is no duplicate whatever its containment: in texts
    made after one pattern that word is all they say, be it a name, a number or a "not". Kept is the
    text with more shingles, of equals the first.

    Args:
        texts: n of them.
        containment: share of the shingles that has to stand in the other, above 0, at most 1.

    Raises:
        InputError: a containment out of its range.

    Cost: linear in the words where shingles are rare; quadratic in n where all texts share them.
    """
    if not 0 < containment <= 1:
        raise InputError(f"containment={containment}: expected above 0, at most 1")
    split = [words(text) for text in texts]
    of = [shingles(found) for found in split]
    owners: dict[Shingle, list[int]] = {}
    copies: dict[int, int] = {}
    # The longest first: what is contained comes after what contains it; of equals, the first.
    for place in sorted(range(len(texts)), key=lambda at: (-len(of[at]), at)):
        shared = Counter(other for one in of[place] for other in owners.get(one, ()))
        needed = containment * len(of[place])
        found = [
            other
            for other, count in shared.items()
            if count >= needed and not new_words(split[place], split[other])
        ]
        if found:
            copies[place] = min(found)
            continue
        for one in of[place]:
            owners.setdefault(one, []).append(place)
    return copies


class Deduplicated(TellingReranker):
    """Another scorer, asked only for chunks that do not repeat one another.

    Near-duplicates come below everything else, in order of arrival, so that no place among the
    best is spent on a text that is sent already; `Scores.duplicates` names them.

    Args:
        reranker: scores what is left.
        containment: see `near_duplicates`.
    """

    def __init__(self, reranker: Reranker, *, containment: float = 0.85) -> None:
        near_duplicates((), containment=containment)
        self._reranker = reranker
        self._containment = containment

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Scores (n,), and what was put aside.

        Raises:
            InputError: the scorer returned no number for a chunk.
        """
        copies = self._copies(chunks)
        kept = [place for place in range(len(chunks)) if place not in copies]
        found = scores_of(self._reranker, query, [chunks[place] for place in kept])
        aside = sorted(copies)
        values = np.empty(len(chunks), dtype=np.float32)
        values[kept] = found.values
        values[aside] = below(found.values, len(aside))
        return replace(
            found,
            values=values,
            read_in_part=tuple(kept[place] for place in found.read_in_part),
            duplicates=tuple(sorted({*copies.items(), *_moved(found.duplicates, kept)})),
        )

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of scoring what is left."""
        copies = self._copies(chunks)
        left = [chunk for place, chunk in enumerate(chunks) if place not in copies]
        return quote_of(self._reranker, query, left)

    def _copies(self, chunks: Sequence[Chunk]) -> dict[int, int]:
        return near_duplicates([passage(one) for one in chunks], containment=self._containment)

    @property
    def id(self) -> str:
        """Of the scorer, and the containment."""
        return f"deduplicated({scorer_id(self._reranker)}, containment={self._containment:g})"

    def __repr__(self) -> str:
        return f"Deduplicated({self._reranker!r}, containment={self._containment})"


class MMRReranker(TellingReranker):
    """Maximal marginal relevance: what is relevant and unlike what stands above it.

    Carbonell and Goldstein (1998), "The Use of MMR, Diversity-Based Reranking for Reordering
    Documents and Producing Summaries": next comes the chunk with the largest
    ``trade_off * relevance - (1 - trade_off) * largest cosine to a chunk above``, and that is its
    score.

    Args:
        embedder: of the chunks' likeness, and of relevance where no scorer is given.
        reranker: of relevance; its scores are taken over the largest absolute one.
        trade_off: 1 is relevance alone, 0 diversity alone.

    Raises:
        InputError: a trade-off out of its range.
    """

    def __init__(
        self, embedder: Embedder, *, reranker: Reranker | None = None, trade_off: float = 0.7
    ) -> None:
        if not 0 <= trade_off <= 1:
            raise InputError(f"trade_off={trade_off}: expected 0 to 1")
        self._embedder = embedder
        self._reranker = reranker
        self._trade_off = trade_off

    def scored(self, query: str, chunks: Sequence[Chunk]) -> Scores:
        """Scores (n,) that fall in the order in which chunks were chosen; n² cosines."""
        if not chunks:
            return Scores(values=np.empty(0, dtype=np.float32))
        texts = [passage(chunk) for chunk in chunks]
        if self._reranker is None:
            vectors = self._embedder.embed([query, *texts])
            found = Scores(values=np.asarray(vectors[1:] @ vectors[0], dtype=np.float32))
            relevance, vectors = found.values, vectors[1:]
        else:
            found = scores_of(self._reranker, query, chunks)
            relevance, vectors = convex([found.values], [1.0]), self._embedder.embed(texts)
        values = _marginal(relevance, np.asarray(vectors @ vectors.T), self._trade_off)
        return replace(found, values=values)

    def quote(self, query: str, chunks: Sequence[Chunk]) -> Decimal | None:
        """US dollars of the scorer of relevance."""
        return Decimal(0) if self._reranker is None else quote_of(self._reranker, query, chunks)

    @property
    def id(self) -> str:
        """Of the embedder and the scorer of relevance, and the trade-off."""
        of = "" if self._reranker is None else f", {scorer_id(self._reranker)}"
        return f"mmr({self._embedder.id}{of}, trade_off={self._trade_off:g})"

    def __repr__(self) -> str:
        parts = f"{self._embedder!r}, reranker={self._reranker!r}, trade_off={self._trade_off}"
        return f"MMRReranker({parts})"


def _marginal(
    relevance: NDArray[np.float32], likeness: NDArray[np.float32], trade_off: float
) -> NDArray[np.float32]:
    """Marginal relevance (n,) of each item at the time it is chosen, made to fall.

    It can rise once, from the first item to one that points away from it, and stand still.
    """
    last = np.float32(np.inf)
    values = np.empty(len(relevance), dtype=np.float32)
    nearest = np.full(len(relevance), -np.inf, dtype=np.float32)
    left = np.ones(len(relevance), dtype=bool)
    for number in range(len(relevance)):
        # Nothing stands above the first one: no penalty.
        penalty = nearest if number else np.zeros_like(nearest)
        marginal = trade_off * relevance - (1 - trade_off) * penalty
        chosen = int(np.argmax(np.where(left, marginal, -np.inf)))
        values[chosen] = last = min(marginal[chosen], np.nextafter(last, np.float32(-np.inf)))
        left[chosen] = False
        nearest = np.maximum(nearest, likeness[chosen])
    return values


def _moved(pairs: Sequence[tuple[int, int]], kept: Sequence[int]) -> list[tuple[int, int]]:
    return [(kept[one], kept[other]) for one, other in pairs]
