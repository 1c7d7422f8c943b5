"""Scores of segments for a query: BM25 over segments and chunks, and bridges between chunks.

The BM25 here (Robertson and Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and
Beyond", section 3) looks only at the terms of the query, over the few hundred segments of one
question, and is gone after the call. Whole chunks are reranked with rank-bm25, corpora are
searched with bm25s: both index every term of their documents, which costs more than this
whole compression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ragopt.compress.layout import Layout
from ragopt.compress.terms import STOP_WORDS, query_terms, word_terms, words
from ragopt.errors import InputError

__all__ = ["Signals", "Weights", "lexical_scores", "lexical_signals", "weighted_scores"]

FloatArray = NDArray[np.float64]

_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")
_ENTITY = re.compile(
    r"[A-Z][\w'\u2019-]*(?:[ ](?:(?:of|the|de|van|von|and|for|in)[ ])?[A-Z][\w'\u2019-]*)*"
    r"|\b\d{4}\b"
)
_LEADING_FUNCTION_WORD = re.compile(r"^(?:the|a|an|in|it|on|at|he|she|they|this)\s+")
_SHORTEST_TITLE_CHARS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each signal counts; the segment's own BM25 counts 1.

    The defaults were chosen on 100 questions of HotpotQA (distractor) and 50 of MuSiQue.
    Weights climbed on either half of them beat the first guesses on the other half each time;
    the round values here were then picked with both halves in view.

    Args:
        chunk: BM25 of the whole chunk.
        lead: ``1 / (1 + position)`` of the segment in its chunk.
        bridge: strength of bridges between chunks, on top of the four shares below.
        bridge_rest: share that reaches the segments after the first of a named chunk.
        bridge_back: share that reaches segments naming the chunk of a strong segment.
        bridge_named: share of the named chunk's best that reaches the segment naming it.
        bridge_entity: share that reaches segments sharing a rare name or year.
        bridge_sources: how many of the strongest segments build bridges.
        entity_chunks: largest share of chunks a name may occur in and still be rare, 0 to 1.
        cosine: similarity of embeddings, when an embedder is given.
        k1: BM25 term saturation.
        b: BM25 length normalisation, 0 to 1.
    """

    chunk: float = 0.4
    lead: float = 0.2
    bridge: float = 1.0
    bridge_rest: float = 0.6
    bridge_back: float = 0.3
    bridge_named: float = 0.5
    bridge_entity: float = 0.5
    bridge_sources: int = 12
    entity_chunks: float = 0.3
    cosine: float = 0.5
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{field.name}={value!r}: expected a finite number of at least 0")
        for name in ("b", "entity_chunks"):
            if getattr(self, name) > 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is known of the segments and chunks of a layout for one query.

    Args:
        found: (n, terms) how often each term of the query stands in each segment and its lead.
        titles: (chunks, terms) how often each stands in each title.
        lengths: (n,) terms of each segment.
        title_lengths: (chunks,) terms of each title.
        chunk_of: (n,) number of each segment's chunk.
        positions: (n,) place of each segment in its chunk.
        own: (n,) BM25 of each segment under its title, over the largest.
        whole: (chunks,) BM25 of each chunk, over the largest.
        base: (n,) weighted sum of the above and the place.
        lent: (n,) what bridges lend, before their weight.
    """

    found: FloatArray
    titles: FloatArray
    lengths: FloatArray
    title_lengths: FloatArray
    chunk_of: NDArray[np.int64]
    positions: NDArray[np.int64]
    own: FloatArray
    whole: FloatArray
    base: FloatArray
    lent: FloatArray


def lexical_scores(query: str, layout: Layout, weights: Weights) -> FloatArray | None:
    """Score every segment of every chunk jointly.

    Args:
        query: the question.
        layout: the segments of all hits; at least one.
        weights: how much each signal counts.

    Returns:
        ``(len(layout),)`` float64, higher is better; ``None`` if no segment or title shares a
        term with the query, in which case nothing can be said.

    Cost: linear in the text, about 2 ms for 8,000 characters.
    """
    signals = lexical_signals(query, layout, weights)
    return None if signals is None else weighted_scores(signals, weights)


def weighted_scores(signals: Signals, weights: Weights) -> FloatArray:
    """Scores of signals that were found with the same weights."""
    scores: FloatArray = signals.base + weights.bridge * signals.lent
    return scores


def lexical_signals(query: str, layout: Layout, weights: Weights) -> Signals | None:
    """The signals behind `lexical_scores`; ``None`` if the query shares no term with the layout."""
    column = {term: number for number, term in enumerate(query_terms(query))}
    own, lengths = _frequencies(layout.words(), column)
    titles, title_lengths = _frequencies((words(chunk.title) for chunk in layout.chunks), column)
    chunk_of = np.array(layout.chunk_of)
    leads = np.array(layout.leads)
    found = own + np.where((leads >= 0)[:, None], own[leads], 0.0)
    lead_lengths = np.where(leads >= 0, lengths[leads], 0.0)
    whole, whole_lengths = titles.copy(), title_lengths.copy()
    np.add.at(whole, chunk_of, own)
    np.add.at(whole_lengths, chunk_of, lengths)
    segment_bm25 = _bm25_scores(
        found + titles[chunk_of], lengths + lead_lengths + title_lengths[chunk_of], weights
    )
    if segment_bm25.max() <= 0:
        return None
    chunk_bm25 = _bm25_scores(whole, whole_lengths, weights)
    own_share = segment_bm25 / segment_bm25.max()
    chunk_share = chunk_bm25 / (chunk_bm25.max() or 1.0)
    positions = np.arange(len(layout)) - np.array(layout.first_of)[chunk_of]
    base = own_share + weights.chunk * chunk_share[chunk_of] + weights.lead / (1 + positions)
    lent = np.zeros_like(base)
    if len(layout.chunks) > 1 and weights.bridge:
        lent = _Bridges(query, layout).lend(base, weights)
    return Signals(
        found=found,
        titles=titles,
        lengths=lengths,
        title_lengths=title_lengths,
        chunk_of=chunk_of,
        positions=positions,
        own=own_share,
        whole=chunk_share,
        base=base,
        lent=lent,
    )


def _frequencies(
    documents: Iterable[Sequence[str]], column: dict[str, int]
) -> tuple[FloatArray, FloatArray]:
    """How often each query term stands in each document, and the documents' lengths in terms."""
    lengths: list[int] = []
    rows: list[int] = []
    columns: list[int] = []
    for row, document in enumerate(documents):
        length = 0
        for word in document:
            for term in word_terms(word):
                length += 1
                if term in column:
                    rows.append(row)
                    columns.append(column[term])
        lengths.append(length)
    frequencies = np.zeros((len(lengths), len(column)))
    np.add.at(frequencies, (rows, columns), 1.0)
    return frequencies, np.array(lengths, dtype=np.float64)


def _bm25_scores(frequencies: FloatArray, lengths: FloatArray, weights: Weights) -> FloatArray:
    found = np.count_nonzero(frequencies, axis=0)
    rarity = np.log1p((len(frequencies) - found + 0.5) / (found + 0.5))
    norm = weights.k1 * (1 - weights.b + weights.b * lengths / (lengths.mean() or 1.0))
    saturated = frequencies * (weights.k1 + 1) / np.maximum(frequencies + norm[:, None], 1e-12)
    scores: FloatArray = saturated @ rarity
    return scores


class _Bridges:
    """Which segments lead to other chunks: by naming their title, or by a rare shared name.

    The second hop of a question shares few words with it; it is found through what the first
    hop says. Scoring passage by passage loses it.
    """

    def __init__(
        self,
        query: str,
        layout: Layout,
    ) -> None:
        self.layout = layout
        self.query = _padded(words(query))
        self.names = _named_chunks(layout)
        self.named_by: dict[int, list[int]] = {}
        for number, named in enumerate(self.names):
            for chunk in named:
                self.named_by.setdefault(chunk, []).append(number)
        self.entities = [_entities(text) for text in layout.texts()]
        self.segments_of: dict[str, list[int]] = {}
        for number, found in enumerate(self.entities):
            for entity in found:
                self.segments_of.setdefault(entity, []).append(number)

    def lend(self, base: FloatArray, weights: Weights) -> FloatArray:
        """What each segment is lent by the strongest ones, before the bridge weight."""
        lent = np.zeros_like(base)
        strongest = np.argsort(-base, kind="stable")[: weights.bridge_sources]
        bounds = [*self.layout.first_of, len(self.layout)]
        for source in strongest.tolist():
            strength = float(base[source])
            for chunk in self.names[source]:
                first, last = bounds[chunk], bounds[chunk + 1]
                if first == last:
                    continue
                lent[first] = max(lent[first], strength)
                rest = lent[first + 1 : last]
                np.maximum(rest, weights.bridge_rest * strength, out=rest)
                best = float(base[first:last].max())
                lent[source] = max(lent[source], weights.bridge_named * best)
            for target in self.named_by.get(self.layout.chunk_of[source], ()):
                lent[target] = max(lent[target], weights.bridge_back * strength)
            for target in self._sharing(source, weights.entity_chunks):
                lent[target] = max(lent[target], weights.bridge_entity * strength)
        return lent

    def _sharing(self, source: int, largest_share: float) -> Iterable[int]:
        """Segments of other chunks that share a rare name with ``source``, not the query's."""
        chunk_of = self.layout.chunk_of
        most = max(2, int(largest_share * len(self.layout.chunks)))
        for entity in self.entities[source]:
            sharing = self.segments_of[entity]
            if len({chunk_of[number] for number in sharing}) > most or entity in self.query:
                continue
            for number in sharing:
                if chunk_of[number] != chunk_of[source]:
                    yield number


def _named_chunks(layout: Layout) -> list[list[int]]:
    """For each segment the chunks whose title it names, chunks of its own title left out."""
    names = [_name(chunk.title) for chunk in layout.chunks]
    by_first_word: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if len(name) >= _SHORTEST_TITLE_CHARS and name not in STOP_WORDS:
            by_first_word.setdefault(name.split(" ", 1)[0], []).append(number)
    first_words = set(by_first_word)
    found: list[list[int]] = []
    for number, own_words in enumerate(layout.words()):
        named: list[int] = []
        begun = first_words.intersection(own_words)
        if begun:
            padded = _padded(own_words)
            own_name = names[layout.chunk_of[number]]
            named.extend(
                chunk
                for word in begun
                for chunk in by_first_word[word]
                if names[chunk] != own_name and f" {names[chunk]} " in padded
            )
        found.append(sorted(named))
    return found


def _name(title: str) -> str:
    """A title as a sentence would say it: without the qualifier in parentheses."""
    return " ".join(words(_QUALIFIER.sub("", title)))


def _padded(found: Sequence[str]) -> str:
    return f" {' '.join(found)} "


def _entities(text: str) -> set[str]:
    """Names (runs of capitalised words) and years of a text, padded and in lower case."""
    found = set()
    for match in _ENTITY.findall(text):
        name = _LEADING_FUNCTION_WORD.sub("", match.lower())
        if name not in STOP_WORDS and len(name) > 1:
            found.add(_padded(words(name)))
    return found
