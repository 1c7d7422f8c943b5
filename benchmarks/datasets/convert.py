"""One kind of dataset as another, where that makes sense; nothing is invented.

Whatever is drawn is drawn with a seed. What has no answer, no label or no text is refused with the
names of datasets that have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.embedded import NAME as EMBEDDED
from ragopt.benchmarks.datasets.embedded import embedded_pairs
from ragopt.benchmarks.datasets.evidence_sets import as_contexts, as_corpus, corpus_items
from ragopt.benchmarks.datasets.loading import kind_of, names, names_with_vectors
from ragopt.benchmarks.datasets.passages import occurrences
from ragopt.benchmarks.datasets.types import (
    ContextSet,
    Dataset,
    IntentSet,
    LabelledPair,
    PairSet,
    QueryLog,
    RetrievalSet,
    TraceSet,
    VectorSet,
)
from ragopt.chunk import Chunk
from ragopt.embed.base import Embedder
from ragopt.errors import InputError
from ragopt.quality import data_hash

__all__ = [
    "as_contexts",
    "as_corpus",
    "as_pairs",
    "as_retrieval",
    "as_vectors",
    "corpus_items",
    "has_vectors",
    "texts_of",
]

_NEAR = 20  # candidates looked at for a near utterance of another intent
_EMBEDDED_AT_ONCE = 1024


def as_vectors(dataset: Dataset, embedder: Embedder | None = None) -> VectorSet:
    """Vectors to index: the dataset's own, else those of its texts.

    Passages are embedded with their titles and questions as they are; of logs, pairs and intents
    every distinct text once, in order, without queries (they are then held out).

    Args:
        dataset: any but a trace.
        embedder: of the texts; needed where the dataset has no vectors, and used only there.

    Raises:
        InputError: a trace, or texts without an embedder.
    """
    if isinstance(dataset, VectorSet):
        return dataset
    if isinstance(dataset, RetrievalSet) and dataset.vectors is not None:
        own = dataset.query_vectors
        return VectorSet(
            name=dataset.name,
            vectors=dataset.vectors,
            queries=None if own is None else np.stack([own[query] for query in dataset.queries]),
            texts=tuple(chunk.text for chunk in dataset.chunks),
            data_hash=dataset.data_hash,
        )
    if isinstance(dataset, PairSet) and dataset.vectors is not None:
        places, matrix = dataset.vectors
        texts = sorted(places, key=places.__getitem__)
        whole = [places[text] for text in texts] == list(range(len(matrix)))
        return VectorSet(
            name=dataset.name,
            vectors=matrix if whole else matrix[[places[text] for text in texts]],
            texts=tuple(texts),
            data_hash=dataset.data_hash,
        )
    return _embedded(dataset, embedder)


def as_pairs(dataset: Dataset, *, seed: int, limit: int | None = None) -> PairSet:
    """Labelled pairs, all or a seeded sample.

    Of intents, half the pairs are two utterances of one intent, drawn evenly over the utterances;
    the other half an utterance with the one of another intent that is nearest by BM25, so that
    words alone do not tell them apart. No two texts are paired twice. Mind what the label says:
    two utterances of one intent need one *kind* of answer (CLINC150's "translate" holds many
    phrases). Of the embedded corpus, a question goes with its paraphrases and with its traps.

    Args:
        dataset: pairs, intents, or the embedded corpus.
        seed: of what is drawn.
        limit: most pairs; all by default, of intents as many as utterances.

    Raises:
        InputError: another kind, or a limit below 2.
    """
    if limit is not None and limit < 2:
        raise InputError(f"limit={limit}: expected at least 2 pairs")
    given = dataset if isinstance(dataset, PairSet) else embedded_pairs(dataset)
    if given is not None:
        return _sampled(given, seed, limit)
    if isinstance(dataset, IntentSet):
        return _intent_pairs(dataset, seed, limit)
    raise InputError(
        f"{dataset.name} holds {kind_of(dataset)}, which have no labels of pairs; expected one of "
        f"{', '.join([*names('pairs'), *names('intents'), EMBEDDED])}, or a file of pairs"
    )


def as_retrieval(dataset: Dataset) -> RetrievalSet:
    """A corpus with judged queries.

    Of questions with contexts: all distinct passages are the corpus, and a question's relevant
    ones are those with evidence (where the source marks none, those that hold an answer). Others
    are not judged. Questions without either are left out.

    Raises:
        InputError: another kind, or no question has a relevant passage.
    """
    if isinstance(dataset, RetrievalSet):
        return dataset
    if not isinstance(dataset, ContextSet):
        raise InputError(
            f"{dataset.name} holds {kind_of(dataset)}, in which nothing is judged; expected one "
            f"of {', '.join([*names('retrieval'), *names('contexts')])}, or a BEIR folder"
        )
    corpus: dict[str, Chunk] = {}
    qrels: dict[str, Mapping[str, int]] = {}
    queries: dict[str, str] = {}
    for context in dataset.contexts:
        corpus.update((chunk.id, chunk) for chunk in context.passages)
        relevant = [chunk for chunk, _, _ in context.evidence] or [
            chunk.id
            for chunk in context.passages
            if any(occurrences(chunk.text, answer) for answer in context.answers)
        ]
        if relevant:
            queries[context.id] = context.question
            qrels[context.id] = dict.fromkeys(relevant, 1)
    if not queries:
        raise InputError(
            f"{dataset.name}: no question has a passage that answers it; expected one of "
            f"{', '.join(names('contexts'))}"
        )
    return RetrievalSet(
        name=dataset.name,
        chunks=tuple(corpus.values()),
        queries=queries,
        qrels=qrels,
        data_hash=dataset.data_hash,
    )


def _embedded(dataset: Dataset, embedder: Embedder | None) -> VectorSet:
    if isinstance(dataset, TraceSet):
        raise InputError(
            f"{dataset.name} is a trace, which holds no texts; expected one of "
            f"{', '.join(names_with_vectors())}, or texts with an embedder"
        )
    if embedder is None:
        raise InputError(
            f"{dataset.name} has no vectors of its own; pass an embedder, or choose one of "
            f"{', '.join(names_with_vectors())}"
        )
    passages, asked = texts_of(dataset)
    return VectorSet(
        name=dataset.name,
        vectors=_in_batches(embedder, passages),
        queries=_in_batches(embedder, asked) if asked else None,
        texts=tuple(passages),
        data_hash=data_hash(dataset.data_hash, embedder.id),
    )


def has_vectors(dataset: Dataset) -> bool:
    """Whether a dataset brings vectors, so that nothing needs to be embedded."""
    return isinstance(dataset, VectorSet) or (
        isinstance(dataset, (RetrievalSet, PairSet)) and dataset.vectors is not None
    )


def texts_of(dataset: Dataset) -> tuple[list[str], list[str]]:
    """What there is to embed: the texts themselves and the questions about them.

    Raises:
        InputError: vectors or a trace, which hold no texts.
    """
    from ragopt.rerank.base import passage

    if isinstance(dataset, ContextSet):
        dataset = _all_passages(dataset)
    if isinstance(dataset, RetrievalSet):
        return [passage(chunk) for chunk in dataset.chunks], list(dataset.queries.values())
    if isinstance(dataset, PairSet):
        texts: Iterable[str] = (
            text for pair in dataset.pairs for text in (pair.text_a, pair.text_b)
        )
    elif isinstance(dataset, IntentSet):
        texts = dataset.texts
    elif isinstance(dataset, QueryLog):
        texts = dataset.queries
    else:
        raise InputError(f"{dataset.name} holds {kind_of(dataset)}, not texts")
    return list(dict.fromkeys(texts)), []


def _all_passages(dataset: ContextSet) -> RetrievalSet:
    """Every passage and every question, answered or not: vectors need no judgement."""
    corpus = {chunk.id: chunk for context in dataset.contexts for chunk in context.passages}
    return RetrievalSet(
        name=dataset.name,
        chunks=tuple(corpus.values()),
        queries={context.id: context.question for context in dataset.contexts},
        qrels={},
    )


def _in_batches(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    vectors = np.empty((len(texts), embedder.dim), dtype=np.float32)
    for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
        part = texts[start : start + _EMBEDDED_AT_ONCE]
        vectors[start : start + len(part)] = embedder.embed(part)
    return vectors


def _sampled(pairs: PairSet, seed: int, limit: int | None) -> PairSet:
    """At most ``limit`` pairs, in their order, labels in the proportion of chance."""
    if limit is None or limit >= len(pairs.pairs):
        return pairs
    drawn = np.random.default_rng(seed).choice(len(pairs.pairs), size=limit, replace=False)
    return PairSet(
        name=pairs.name,
        pairs=tuple(pairs.pairs[place] for place in sorted(drawn)),
        vectors=pairs.vectors,
        about=pairs.about,
        data_hash=data_hash(pairs.data_hash, f"limit={limit} seed={seed}"),
    )


def _intent_pairs(dataset: IntentSet, seed: int, limit: int | None) -> PairSet:
    """Half same, half different, interleaved by the draw."""
    half = (limit or len(dataset.texts)) // 2
    rng = np.random.default_rng(seed)
    order = [int(place) for place in rng.permutation(len(dataset.texts))]
    same = _pairs(dataset, order, half, _same_intent(dataset, rng), same=True)
    different = _pairs(dataset, order, half, _near_other(dataset), same=False)
    count = min(len(same), len(different))
    if not count:
        raise InputError(
            f"{dataset.name}: no two utterances of one intent, or none near of another; expected "
            f"several of each, such as {', '.join(names('intents'))}"
        )
    drawn = [*same[:count], *different[:count]]
    return PairSet(
        name=dataset.name,
        pairs=tuple(drawn[place] for place in rng.permutation(len(drawn))),
        data_hash=data_hash(dataset.data_hash, f"limit={limit} seed={seed}"),
    )


def _pairs(
    dataset: IntentSet,
    order: Sequence[int],
    count: int,
    partners: Callable[[int], Iterable[int]],
    *,
    same: bool,
) -> list[LabelledPair]:
    """Pairs of utterances in an order with the first of their partners that is new."""
    found: dict[frozenset[str], LabelledPair] = {}
    for place in order:
        if len(found) >= count:
            break
        text = dataset.texts[place]
        for partner in partners(place):
            key = frozenset((text, dataset.texts[partner]))
            if len(key) == 2 and key not in found:
                found[key] = LabelledPair(text, dataset.texts[partner], same)
                break
    return list(found.values())


def _same_intent(dataset: IntentSet, rng: np.random.Generator) -> Callable[[int], Iterable[int]]:
    members: dict[str, list[int]] = {}
    for place, intent in enumerate(dataset.intents):
        members.setdefault(intent, []).append(place)

    def partners(place: int) -> list[int]:
        own = members[dataset.intents[place]]
        return [own[other] for other in rng.permutation(len(own))]

    return partners


def _near_other(dataset: IntentSet) -> Callable[[int], Iterable[int]]:
    """Utterances of other intents, nearest first; none whose very words have the same intent."""
    from ragopt.indexes.lexical import LexicalIndex

    index = LexicalIndex.build(dataset.texts)
    labels: dict[str, set[str]] = {}
    for text, intent in zip(dataset.texts, dataset.intents, strict=True):
        labels.setdefault(text, set()).add(intent)

    def partners(place: int) -> list[int]:
        text, k = dataset.texts[place], _NEAR
        while True:
            near = [int(other) for other in index.search(text, k).ids[0] if other >= 0]
            foreign = [other for other in near if not labels[dataset.texts[other]] & labels[text]]
            if foreign or len(near) < k:
                return foreign
            k *= 4

    return partners
