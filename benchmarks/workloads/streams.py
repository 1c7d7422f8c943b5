"""Streams of questions in order of arrival: drawn by a law, from labelled data, or like a real log.

What a cache can save depends on three shares of a stream: requests that repeat the very words of
an earlier one, requests that put an earlier question in new words, and questions never asked
before. Every stream here carries them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet, QueryLog
from ragopt.benchmarks.road.traffic import Request
from ragopt.cache import normalise
from ragopt.errors import InputError

__all__ = [
    "LogShape",
    "Stream",
    "log_shape",
    "paraphrase_stream",
    "reshape",
    "stream_of_intents",
    "stream_of_pairs",
    "zipf_indices",
]

T = TypeVar("T")


def zipf_indices(count: int, items: int, exponent: float = 0.8, seed: int = 0) -> NDArray[np.int64]:
    """Draw from items so that the one of rank r comes with a probability like ``r ** -exponent``.

    Which item has which rank is drawn too.

    Args:
        count: draws, at least 0.
        items: to draw from, at least 1.
        exponent: 0 draws evenly; web search queries follow about 0.8 (Baeza-Yates et al., 2007,
            "The impact of caching on search engines").
        seed: of ranks and draws.

    Returns:
        (count,) numbers in [0, items).

    Raises:
        InputError: counts out of range, an exponent that is negative or not finite.
    """
    if count < 0 or items < 1 or not 0 <= exponent < math.inf:
        raise InputError(
            f"count={count}, items={items}, exponent={exponent}: expected count >= 0, items >= 1 "
            "and a finite exponent >= 0"
        )
    rng = np.random.default_rng(seed)
    ranks = rng.permutation(items)
    weights = np.cumsum(np.arange(1, items + 1) ** -float(exponent))
    drawn = np.searchsorted(weights, rng.random(count) * weights[-1], side="right")
    return np.asarray(ranks[np.minimum(drawn, items - 1)], np.int64)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Requests in order of arrival, each with the group of equivalent questions it belongs to.

    Args:
        requests: in order; ``item`` names the group.
        seed: of the draw.
        contradictions: pairs that the source labels as different although it joins them through
            other pairs; the groups they lie in are kept.
        contradicted: names of these groups.
    """

    requests: tuple[Request, ...]
    seed: int
    contradictions: tuple[LabelledPair, ...] = ()
    contradicted: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def repeated_ratio(self) -> float:
        """Share of requests in the words of an earlier one, after `ragopt.cache.normalise`."""
        return self._shares["repeated"]

    @property
    def rephrased_ratio(self) -> float:
        """Share of requests in new words for a group that was asked before."""
        return self._shares["rephrased"]

    @property
    def first_ratio(self) -> float:
        """Share of requests whose group was never asked before."""
        return self._shares["first"]

    @cached_property
    def ambiguous(self) -> tuple[str, ...]:
        """Words, normalised, that the stream holds under more than one group."""
        owners: dict[str, set[str]] = {}
        for words, request in zip(self._words, self.requests, strict=True):
            owners.setdefault(words, set()).add(request.item)
        return tuple(words for words, items in owners.items() if len(items) > 1)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        known = {text: normalise(text) for text in {request.text for request in self.requests}}
        return tuple(known[request.text] for request in self.requests)

    @cached_property
    def _shares(self) -> Mapping[str, float]:
        seen: set[str] = set()
        counts: Counter[str] = Counter()
        for words, request in zip(self._words, self.requests, strict=True):
            # Words and groups are told apart by a mark that no name begins with twice.
            kind = "repeated" if f"w{words}" in seen else "first"
            if kind == "first" and f"g{request.item}" in seen:
                kind = "rephrased"
            counts[kind] += 1
            seen.update((f"w{words}", f"g{request.item}"))
        total = max(1, len(self.requests))
        return {kind: counts[kind] / total for kind in ("repeated", "rephrased", "first")}

    def __str__(self) -> str:
        doubt = f", {len(self.contradictions):,} contradictory labels" * bool(self.contradictions)
        return (
            f"{len(self):,} requests, seed {self.seed}: {self.repeated_ratio:.1%} repeat earlier "
            f"words, {self.rephrased_ratio:.1%} put an earlier question in new words, "
            f"{self.first_ratio:.1%} are new{doubt}"
        )


def paraphrase_stream(
    groups: Mapping[str, Sequence[str]], count: int, *, exponent: float = 0.8, seed: int = 0
) -> Stream:
    """Requests whose groups follow a Zipf law, each in any wording of its group, evenly.

    Args:
        groups: name to equivalent texts, at least one each.
        count: of requests, at least 1.
        exponent: see `zipf_indices`.
        seed: of the draw.

    Raises:
        InputError: no group, one without text, or figures out of range.
    """
    if not groups or not all(groups.values()) or count < 1:
        raise InputError(
            f"{len(groups)} groups, count={count}: expected at least one group, a text in each, "
            "and a count of at least 1"
        )
    names = list(groups)
    rng = np.random.default_rng([seed, 1])
    requests = []
    for place, chance in zip(
        zipf_indices(count, len(names), exponent, seed).tolist(), rng.random(count), strict=True
    ):
        texts = groups[names[place]]
        requests.append(Request(texts[int(chance * len(texts))], names[place]))
    return Stream(requests=tuple(requests), seed=seed)


def stream_of_pairs(
    pairs: PairSet, *, count: int | None = None, exponent: float = 0.8, seed: int = 0
) -> Stream:
    """Labelled pairs as a stream: texts that are the same, or joined by such, are one group.

    Labels reach no further than the pairs: two groups that were never compared may ask the same,
    so a hit between them is called wrong where it may be right.

    Args:
        pairs: texts alike after `ragopt.cache.normalise` count as the same.
        count: of requests drawn by `paraphrase_stream`; None: every text once, in a drawn order.
        exponent: of the law, with ``count``.
        seed: of order or draw.

    Raises:
        InputError: no pairs, or figures out of range.
    """
    if not pairs.pairs:
        raise InputError(f"{pairs.name}: no pairs; expected at least one")
    group_of = _joined(pairs.pairs)
    groups: dict[str, list[str]] = {}
    for text, item in group_of.items():
        groups.setdefault(item, []).append(text)
    against = tuple(
        pair
        for pair in pairs.pairs
        if not pair.same and group_of[pair.text_a] == group_of[pair.text_b]
    )
    drawn = _drawn(groups, count, exponent, seed)
    return Stream(
        requests=drawn.requests,
        seed=seed,
        contradictions=against,
        contradicted=frozenset(group_of[pair.text_a] for pair in against),
    )


def stream_of_intents(
    intents: IntentSet, *, count: int | None = None, exponent: float = 0.8, seed: int = 0
) -> Stream:
    """Utterances as a stream: those of one intent are one group.

    Args:
        intents: utterances and their intents.
        count: of requests drawn by `paraphrase_stream`; None: every utterance once.
        exponent: of the law, with ``count``.
        seed: of order or draw.

    Raises:
        InputError: no utterances, another number of intents, or figures out of range.
    """
    if not intents.texts or len(intents.texts) != len(intents.intents):
        raise InputError(
            f"{intents.name}: {len(intents.texts)} texts and {len(intents.intents)} intents; "
            "expected as many of both, and at least one"
        )
    groups: dict[str, list[str]] = {}
    for text, intent in zip(intents.texts, intents.intents, strict=True):
        groups.setdefault(intent, []).append(text)
    return _drawn(groups, count, exponent, seed)


def _drawn(
    groups: Mapping[str, Sequence[str]], count: int | None, exponent: float, seed: int
) -> Stream:
    if count is not None:
        return paraphrase_stream(groups, count, exponent=exponent, seed=seed)
    every = [Request(text, item) for item, texts in groups.items() for text in texts]
    order = np.random.default_rng(seed).permutation(len(every))
    return Stream(requests=tuple(every[place] for place in order), seed=seed)


def _joined(pairs: Sequence[LabelledPair]) -> dict[str, str]:
    """Text to the name of its group, by union-find over pairs that are the same."""
    words: dict[str, str] = {}
    for pair in pairs:
        for text in (pair.text_a, pair.text_b):
            if text not in words:
                words[text] = normalise(text)
    above = {normalised: normalised for normalised in words.values()}

    def top(normalised: str) -> str:
        while above[normalised] != normalised:
            above[normalised] = normalised = above[above[normalised]]
        return normalised

    for pair in pairs:
        if pair.same:
            above[top(words[pair.text_b])] = top(words[pair.text_a])
    names: dict[str, str] = {}
    return {
        text: names.setdefault(top(normalised), f"g{len(names)}")
        for text, normalised in words.items()
    }


@dataclass(frozen=True, slots=True)
class LogShape:
    """Which requests of a log repeat which: its structure, without its words.

    Args:
        places: (n,) int64: for each request the number of its question, counted from 0 in the
            order in which questions were first asked.
    """

    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def distinct(self) -> int:
        """Number of different questions."""
        return int(self.places.max()) + 1 if len(self.places) else 0

    @property
    def repeated_ratio(self) -> float:
        """Share of requests that were asked before."""
        return 1 - self.distinct / max(1, len(self.places))

    def cut(self, distinct: int, seed: int = 0) -> LogShape:
        """The requests for a sample of the questions, in their order; all where there are no more.

        The sample is systematic from the most frequent to the rarest, so that repetition stays
        about that of the whole log; its mere beginning would hold less.

        Args:
            distinct: questions to keep, at least 1.
            seed: of the sample.

        Raises:
            InputError: fewer than 1.
        """
        if distinct < 1:
            raise InputError(f"distinct={distinct}: expected at least 1")
        if distinct >= self.distinct:
            return self
        rng = np.random.default_rng(seed)
        counts = np.bincount(self.places)
        often = np.lexsort((rng.random(len(counts)), -counts))
        strides = (np.arange(distinct) + rng.random()) * len(often) / distinct
        kept = np.isin(self.places, often[strides.astype(np.int64)])
        return _numbered(self.places[kept].tolist())


def log_shape(log: QueryLog) -> LogShape:
    """The repetition of a real log; queries alike after `ragopt.cache.normalise` are one.

    Raises:
        InputError: an empty log.
    """
    if not log.queries:
        raise InputError(f"{log.name}: no queries; expected at least one")
    return _numbered([normalise(query) for query in log.queries])


def _numbered(questions: Sequence[Hashable]) -> LogShape:
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(question, len(numbers)) for question in questions]
    return LogShape(np.array(places, np.int64))


def reshape(items: Sequence[T], shape: LogShape, *, seed: int = 0) -> list[T]:
    """Put other questions into a log's order of repetition.

    Args:
        items: at least as many as the log has different questions; which of them takes the place
            of which is drawn.
        shape: of the log.
        seed: of the draw.

    Returns:
        One item for each request of the log.

    Raises:
        InputError: too few items.
    """
    if len(items) < shape.distinct:
        raise InputError(
            f"{len(items)} items for a log of {shape.distinct} different questions: expected at "
            f"least as many; use a sample of its questions, shape.cut({len(items)}), or more items"
        )
    chosen = np.random.default_rng(seed).permutation(len(items))[: shape.distinct]
    return [items[place] for place in chosen[shape.places].tolist()]
