"""What the learned scorer looks at: cheap features of each segment, of its chunk, of the question.

Shares and ranks within one context only, so that no feature depends on how long the texts are or
how many there are; nothing of the order of the hits, of their scores or of the words themselves.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ragopt.compress.layout import Layout
from ragopt.compress.score import Signals, Weights, weighted_scores
from ragopt.compress.terms import STOP_WORDS, words

__all__ = ["FEATURES", "segment_features"]

FloatArray = NDArray[np.float64]

FEATURES = (
    "score",
    "score_rank",
    "own",
    "own_rank",
    "lent",
    "chunk",
    "chunk_rank",
    "chunk_margin",
    "chunk_best",
    "in_best_chunk",
    "coverage",
    "coverage_bare",
    "coverage_last",
    "coverage_with_previous",
    "coverage_with_neighbours",
    "coverage_beyond_title",
    "coverage_beyond_best",
    "chunk_coverage",
    "chunk_coverage_margin",
    "best_coverage",
    "title_coverage",
    "title_share",
    "pairs",
    "answer_type",
    "length",
    "length_share",
    "query_terms",
)
"""Names of the columns of `segment_features`, in order.

The score of the default `Weights` and the BM25 behind it, over the largest and as ranks; how much
of the query a segment, its neighbours and its chunk hold, by rarity, and how far a chunk is ahead
of the next best; whether it holds what such a question asks for; lengths.
"""

_ASKS = (
    (
        "time",
        r"\bwhen\b|\b(?:what|which)(?:'s the)? (?:year|date|day|month|century|decade|time)\b",
    ),
    (
        "number",
        (
            r"\bhow (?:many|much|long|old|far|tall|big|large|high|often|fast|deep|wide)\b"
            r"|\b(?:what|which) (?:number|percent\w*|population|age|amount)\b"
        ),
    ),
    ("person", r"\bwho(?:se|m)?\b"),
    ("place", r"\bwhere\b|\b(?:what|which) (?:city|country|state|town|place|county)\b"),
    ("reason", r"\bwhy\b|\bhow\b"),
)
_QUESTIONS = tuple((kind, re.compile(pattern)) for kind, pattern in _ASKS)
_ANSWERS = {
    "time": re.compile(
        r"\b(?:January|February|March|April|May|June|July|August|September|October|November"
        r"|December|Jan|Feb|Aug|Sept?|Oct|Nov|Dec|century|1\d\d\d|20\d\d)\b"
    ),
    "number": re.compile(
        r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand"
        r"|million|billion|dozen|twice|half)\b",
        re.IGNORECASE,
    ),
    "person": re.compile(r"[a-z,;:)] [A-Z][a-z]+(?: [A-Z][\w.'-]*)+"),
    "place": re.compile(r"\b(?:in|at|near|from|of|located|between|on) (?:the )?[A-Z]"),
    "reason": re.compile(
        r"\b(?:because|due to|caus\w+|reason|since|therefore|in order|result\w*|so that|led to"
        r"|to (?:avoid|prevent|allow|protect))\b",
        re.IGNORECASE,
    ),
}
_TINY = 1e-12


def segment_features(query: str, layout: Layout, signals: Signals, weights: Weights) -> FloatArray:
    """Features of every segment.

    Args:
        query: the question.
        layout: the segments of all hits.
        signals: of the two, found with ``weights``.
        weights: of the score that is a feature among others.

    Returns:
        ``(len(layout), len(FEATURES))`` float64, columns as in `FEATURES`.

    Cost: some 0.5 ms for 70 segments.
    """
    chunk_of = signals.chunk_of
    chunks = len(layout.chunks)
    score = weighted_scores(signals, weights)
    score = score / (score.max() or 1.0)
    found = {
        "score": score,
        "score_rank": _ranks(score),
        "own": signals.own,
        "own_rank": _ranks(signals.own),
        "lent": signals.lent,
        "chunk": signals.whole[chunk_of],
        "chunk_rank": _ranks(signals.whole)[chunk_of],
        "chunk_margin": _margins(signals.whole)[chunk_of],
        "chunk_best": _largest(score, chunk_of, chunks)[chunk_of],
        "in_best_chunk": chunk_of == chunk_of[int(np.argmax(score))],
        **_coverages(signals, score),
        "pairs": _shared_pairs(query, layout),
        "answer_type": _answer_types(query, layout),
        "length": np.log1p(signals.lengths),
        "length_share": np.log((signals.lengths + 1) / (signals.lengths.mean() + 1)),
        "query_terms": np.full(len(layout), signals.found.shape[1]),
    }
    return np.column_stack([found[name] for name in FEATURES]).astype(np.float64, copy=False)


def _coverages(signals: Signals, score: FloatArray) -> dict[str, FloatArray]:
    """How much of the query's terms segments, chunks and titles hold, rare terms counting more."""
    chunk_of = signals.chunk_of
    bare = signals.found > 0
    titles = signals.titles > 0
    under_title = bare | titles[chunk_of]
    whole = titles.copy()
    np.logical_or.at(whole, chunk_of, bare)
    rarity = _rarity(under_title)
    chunk_rarity = _rarity(whole)
    later = np.linspace(0.0, 1.0, bare.shape[1]) * under_title.any(axis=0)
    same_chunk = chunk_of[1:] == chunk_of[:-1]
    with_previous = bare.copy()
    with_previous[1:] |= bare[:-1] & same_chunk[:, None]
    with_both = with_previous.copy()
    with_both[:-1] |= bare[1:] & same_chunk[:, None]
    untitled = ~titles[chunk_of]
    by_chunk: FloatArray = whole @ chunk_rarity
    best = under_title[int(np.argmax(score))]
    return {
        "coverage": under_title @ rarity,
        "coverage_bare": bare @ rarity,
        "coverage_last": bare @ later / max(later.sum(), _TINY),
        "coverage_with_previous": with_previous @ rarity,
        "coverage_with_neighbours": with_both @ rarity,
        "coverage_beyond_title": (bare & untitled) @ rarity / np.maximum(untitled @ rarity, _TINY),
        "coverage_beyond_best": (under_title & ~best) @ rarity,
        "chunk_coverage": by_chunk[chunk_of],
        "chunk_coverage_margin": _margins(by_chunk)[chunk_of],
        "best_coverage": np.full(len(bare), by_chunk.max()),
        "title_coverage": (titles @ chunk_rarity)[chunk_of],
        "title_share": (titles.sum(axis=1) / np.maximum(signals.title_lengths, 1))[chunk_of],
    }


def _rarity(holds: NDArray[np.bool_]) -> FloatArray:
    """Weight of each term, of those that occur at all adding up to 1."""
    often = np.count_nonzero(holds, axis=0)
    rarity = np.log1p((len(holds) - often + 0.5) / (often + 0.5)) * (often > 0)
    shares: FloatArray = rarity / max(rarity.sum(), _TINY)
    return shares


def _ranks(values: FloatArray) -> FloatArray:
    """1 for the largest, a half for the second, and so on; equal ones in order."""
    ranks = np.empty(len(values))
    ranks[np.argsort(-values, kind="stable")] = 1 / np.arange(1, len(values) + 1)
    return ranks


def _margins(values: FloatArray) -> FloatArray:
    """How far each is ahead of the best of the others; negative for all but the largest."""
    place = int(np.argmax(values))
    others = np.delete(values, place)
    margins: FloatArray = values - values[place]
    margins[place] = values[place] - (others.max() if len(others) else 0.0)
    return margins


def _largest(values: FloatArray, group: NDArray[np.int64], groups: int) -> FloatArray:
    largest = np.zeros(groups)
    np.maximum.at(largest, group, values)
    return largest


def _shared_pairs(query: str, layout: Layout) -> FloatArray:
    """Share of the query's pairs of neighbouring words that stand in each segment."""
    asked = words(query)
    pairs = {pair for pair in pairwise(asked) if not STOP_WORDS.issuperset(pair)}
    if not pairs:
        return np.zeros(len(layout))
    shared = [len(pairs.intersection(pairwise(found))) for found in layout.words()]
    return np.array(shared) / len(pairs)


def _answer_types(query: str, layout: Layout) -> FloatArray:
    """Half for a segment with what the question asks for (a name, a date), else minus a half.

    0 for all segments if the question does not say what it asks for.
    """
    asked = query.lower()
    kind = next((kind for kind, pattern in _QUESTIONS if pattern.search(asked)), None)
    if kind is None:
        return np.zeros(len(layout))
    search = _ANSWERS[kind].search
    return np.array([0.5 if search(text) else -0.5 for text in layout.texts()])
