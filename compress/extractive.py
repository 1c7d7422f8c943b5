"""Extractive compression: keep the sentences that answer, verbatim, under a token budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragopt.chunk import Hit
from ragopt.compress.base import (
    Compressed,
    CountTokens,
    check_request,
    default_count,
    unchanged,
)
from ragopt.compress.duplicates import NearDuplicates, opens_with_reference
from ragopt.compress.layout import Layout
from ragopt.compress.learned import SegmentScorer, default_scorer
from ragopt.compress.pack import Packer
from ragopt.compress.score import FloatArray, Weights, lexical_scores
from ragopt.errors import InputError

__all__ = ["Extractive", "ExtractiveOptions"]


class _Embeds(Protocol):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractiveOptions:
    """Settings of `Extractive`.

    Args:
        keep_score: when the call names no budget, leave out what scores below this share of the
            best segment; 0 to below 1. The share follows the question: where one sentence
            answers, little else stays. Of ten chunks each for the 520 questions of the embedded
            corpus, to which the scorer was not fitted, 0.2 (the default) left 54 % of the tokens
            and 95.2 % of the evidence; with hand-set weights 72 % and 96.0 %.
        keep_ratio: when the call names no budget, at most this share of the tokens that came in;
            above 0, at most 1, which sets none (the default).
        min_gain: with such a budget, a smaller saving than this share leaves the context
            untouched; 0 to below 1.
        closure_share: share of the budget that may go to the sentences before those that open
            with "He" or "However"; 0 to 1.
        near_duplicate: share of shingles that makes a sentence a repetition; above 0, at
            most 1.
        weights: hand-set weights of the signals to score with; ``None`` (the default) scores with
            the fitted `ragopt.compress.learned.SegmentScorer` or, with an embedder, which that
            one was not fitted with, by the default `Weights`.
    """

    keep_score: float = 0.2
    keep_ratio: float = 1.0
    min_gain: float = 0.1
    closure_share: float = 0.1
    near_duplicate: float = 0.85
    weights: Weights | None = None

    def __post_init__(self) -> None:
        for name in ("keep_ratio", "near_duplicate"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected above 0, at most 1")
        for name in ("keep_score", "min_gain"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected 0 to below 1")
        if not 0 <= self.closure_share <= 1:
            raise InputError(f"closure_share={self.closure_share!r}: expected 0 to 1")


class Extractive:
    r"""Keeps the segments of the hits that matter for the query, word for word.

    No language model. All segments of all hits are scored jointly, from the words that they
    share with the query and each other (`ragopt.compress.score`), by a scorer that was fitted on
    labelled evidence (`ragopt.compress.learned`). The best are taken while they fit, and stand in
    the result in their source order. Numbers, code, JSON, table rows and negated clauses come out
    as they went in or not at all.

    Nothing is compressed, and `Compressed.skipped_reason` says why, when the query shares no
    word with the hits, when they are within the budget as they are, and when too little would
    be gained. At least one sentence of the best hit is always kept: if none of its sentences
    fits the budget the shortest is, and the result is over the budget.

    Args:
        options: settings.
        count: token counter; by default ragopt's estimate.
        embedder: adds the cosine similarity of query and segment to the hand-set score.
        scorer: instead of the one that ships; excludes weights and an embedder.

    Example::

        compressed = Extractive().compress(question, hits, max_tokens=800)
        prompt = f"{compressed.text}\n\nQuestion: {question}"
    """

    def __init__(
        self,
        options: ExtractiveOptions | None = None,
        *,
        count: CountTokens | None = None,
        embedder: _Embeds | None = None,
        scorer: SegmentScorer | None = None,
    ) -> None:
        self.options = options or ExtractiveOptions()
        if scorer is not None and (self.options.weights is not None or embedder is not None):
            raise InputError(
                f"scorer={scorer!r} with weights or an embedder: expected one way to score; "
                "leave out either"
            )
        self._count = count
        self._embedder = embedder
        self._scorer = self._given = scorer

    def compress(
        self, query: str, hits: Sequence[Hit], *, max_tokens: int | None = None
    ) -> Compressed:
        """Compress the hits of a query.

        Args:
            query: the question the context has to answer.
            hits: what was found, any number; their order is kept.
            max_tokens: budget of the rendered context, at least 1, which the best segments
                fill; ``None`` keeps what scores enough, by ``options.keep_score``.

        Raises:
            InputError: an unusable ``max_tokens``, a NaN score, or one chunk id with two texts.

        Cost: linear in the text; a few milliseconds for 2,000 tokens.
        """
        check_request(hits, max_tokens)
        count = self._count = self._count or default_count()
        layout = Layout(hits)
        tokens_before = count(layout.full_text())
        budget = max_tokens or math.ceil(self.options.keep_ratio * tokens_before)
        if not layout:
            return unchanged(hits, count, "there is no text to compress")
        share = self.options.keep_score if max_tokens is None else 0.0
        if tokens_before <= budget and not share:
            return unchanged(hits, count, f"{tokens_before} tokens are within the budget")
        scores = self._scores(query, layout)
        if scores is None:
            return unchanged(hits, count, "the query shares no word with the hits")
        # Segments are priced a token or so too high: what sets no budget must not run out of it.
        room = budget if budget < tokens_before else 2 * tokens_before
        packer = self._packer(layout, count, room, tokens_before)
        ranked = np.argsort(-scores, kind="stable")
        packer.take(_fail_safe(ranked.tolist(), _best_chunk(hits, layout, scores), packer))
        packer.fill(_wanted(ranked, scores, share))
        result = packer.result()
        least = self.options.min_gain if max_tokens is None else 0.0
        if result.tokens_saved < max(1, least * tokens_before):
            saved = f"{result.tokens_saved} of {tokens_before} tokens"
            return unchanged(hits, count, f"only {saved} would be saved")
        return result

    def at_score(self, query: str, hits: Sequence[Hit], keep_score: float) -> Compressed:
        """`compress` without a budget, with another ``keep_score`` and whatever it gains.

        Raises:
            InputError: ``keep_score`` outside [0, 1), or as `compress`.
        """
        options = replace(self.options, keep_score=keep_score, keep_ratio=1.0, min_gain=0.0)
        other = Extractive(options, count=self._count, embedder=self._embedder, scorer=self._scorer)
        return other.compress(query, hits)

    def __repr__(self) -> str:
        scorer = "" if self._given is None else f", scorer={self._given!r}"
        return f"Extractive({self.options!r}{scorer})"

    def _scores(self, query: str, layout: Layout) -> FloatArray | None:
        weights = self.options.weights
        if weights is None and self._embedder is None:
            scorer = self._scorer = self._scorer or default_scorer()
            return scorer.scores(query, layout)
        weights = weights or Weights()
        scores = lexical_scores(query, layout, weights)
        if self._embedder is None:
            return scores
        vectors = np.asarray(self._embedder.embed([query, *layout.texts()]), dtype=np.float64)
        cosine: FloatArray = weights.cosine * (vectors[1:] @ vectors[0])
        return cosine if scores is None else scores + cosine

    def _packer(
        self, layout: Layout, count: CountTokens, budget: int, tokens_before: int
    ) -> Packer:
        return Packer(
            layout,
            count,
            budget,
            tokens_before,
            duplicates=NearDuplicates(layout, self.options.near_duplicate),
            companion=partial(_antecedent, layout),
            companion_budget=int(self.options.closure_share * min(budget, tokens_before)),
        )


def _wanted(ranked: NDArray[np.intp], scores: FloatArray, share: float) -> list[int]:
    """What scores enough to be kept; all where the best is not positive: no share of it is."""
    best = scores[ranked[0]]
    reaching = ranked if best <= 0 else ranked[scores[ranked] >= share * best]
    return [int(number) for number in reaching]


def _antecedent(layout: Layout, number: int) -> int | None:
    """The sentence before one that points back ("He ...", "However, ...")."""
    if number == layout.first_of[layout.chunk_of[number]]:
        return None
    if layout.segments[number].kind != "prose" or layout.segments[number - 1].kind != "prose":
        return None
    return number - 1 if opens_with_reference(layout.text(number)) else None


def _best_chunk(hits: Sequence[Hit], layout: Layout, scores: FloatArray) -> int:
    """The chunk of the best hit; among equals, the one with the best segment."""
    top = max(hits[chunk].score for chunk in set(layout.chunk_of))
    equals = [number for number, chunk in enumerate(layout.chunk_of) if hits[chunk].score == top]
    return layout.chunk_of[max(equals, key=scores.__getitem__)]


def _fail_safe(order: Sequence[int], chunk: int, packer: Packer) -> int:
    """The best segment of a chunk that fits the budget, or its shortest if none does."""
    layout = packer.layout
    own = [number for number in order if layout.chunk_of[number] == chunk]
    fitting = (number for number in own if packer.fits_alone(number))
    shortest = min(own, key=lambda number: packer.price(layout.closure(number)))
    return next(fitting, shortest)
