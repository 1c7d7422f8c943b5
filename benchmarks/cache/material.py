"""What a run works on: pairs in halves, a stream of requests, and one table of vectors for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.certifying import nearest_pairs
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.split import Halves, components, parts
from ragopt.benchmarks.cache.stream import Stream
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.benchmarks.datasets.types import IntentSet, LabelledPair, PairSet, QueryLog
from ragopt.benchmarks.workloads import log_shape, stream_of_intents, stream_of_pairs
from ragopt.cache import normalise
from ragopt.embed import LSAEmbedder
from ragopt.errors import InputError

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = ["Material", "prepare"]

_CERTIFYING = 8000  # utterances of intents; half of them are asked
_LSA_DIM = 256
_LSA_SHARE = 1 / 3  # of the data: fits the embedder where there is none, and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One dataset, ready to be measured on.

    Args:
        table: vectors of all texts below.
        stream: requests.
        pairs: labelled; none where the source has no pairs.
        split: of the pairs.
        subset: places, ascending, of the pairs that slower policies answer.
        fitting: places, ascending, of the pairs that a verifier is fitted on: half of those that
            fit, without a question in common with the others.
        certifying: pairs that thresholds for the stream are certified on; the stream holds none of
            their questions.
        questions: that traps are made from, each once.
        notes: what was left out or drawn, for the result.
    """

    table: VectorTable
    stream: Stream
    pairs: tuple[LabelledPair, ...] = ()
    split: Halves | None = None
    subset: NDArray[np.int64] | None = None
    fitting: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    certifying: tuple[LabelledPair, ...] = ()
    questions: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


def prepare(
    dataset: PairSet | IntentSet | QueryLog,
    options: CacheBenchOptions,
    embedder: Embedder | None,
) -> Material:
    """Draw pairs and stream, and embed all of their texts once.

    Stored vectors are used where the source has them. Otherwise ``embedder`` embeds; where that is
    None, a latent semantic analysis fitted on a third of the data that nothing is measured on.

    Raises:
        InputError: another kind of dataset, or one too small.
    """
    if isinstance(dataset, PairSet):
        return _of_pairs(dataset, options, embedder)
    if isinstance(dataset, IntentSet):
        return _of_intents(dataset, options, embedder)
    if isinstance(dataset, QueryLog):
        return _of_log(dataset, options, embedder)
    raise InputError(
        f"dataset is {type(dataset).__name__}, expected labelled pairs (qqp), intents (clinc150, "
        "banking77) or a query log"
    )


def _of_pairs(dataset: PairSet, options: CacheBenchOptions, embedder: Embedder | None) -> Material:
    pairs = list(dataset.pairs)
    if dataset.vectors is None and embedder is None:
        mine, rest = parts(pairs, (_LSA_SHARE, 1 - _LSA_SHARE), seed=options.seed)
        embedder = _lsa(_texts([pairs[place] for place in mine]), options.seed)
        pairs = [pairs[place] for place in rest]
    pairs = _drawn(pairs, options.pairs, options.seed)
    table = _table(dataset, _texts(pairs), embedder)
    known = [pair for pair in pairs if table.known(pair.text_a) and table.known(pair.text_b)]
    fit, report = parts(known, (0.5, 0.5), seed=options.seed)
    subset = np.sort(
        np.concatenate(
            [_some(half, options.peer_pairs // 2, options.seed) for half in (fit, report)]
        )
    )
    stream = _stream_of([known[place] for place in report], dataset.name, options)
    return Material(
        table=table,
        stream=stream,
        pairs=tuple(known),
        split=Halves(fit, report),
        subset=subset,
        certifying=tuple(known[place] for place in fit),
        questions=tuple(dict.fromkeys(_texts([known[place] for place in report]))),
        fitting=fit[parts([known[place] for place in fit], (0.5, 0.5), seed=options.seed)[0]],
        notes={
            "pairs": len(known),
            "same": sum(pair.same for pair in known),
            "about": dataset.about,
            "left_out": {"unknown_to_embedder": len(pairs) - len(known)},
            "embedder": table.id,
        },
    )


def _of_intents(
    dataset: IntentSet, options: CacheBenchOptions, embedder: Embedder | None
) -> Material:
    order = np.random.default_rng(options.seed).permutation(len(dataset.texts))
    if embedder is None:
        cut = round(len(order) * _LSA_SHARE)
        embedder = _lsa([dataset.texts[place] for place in order[:cut]], options.seed)
        order = order[cut:]
    table = VectorTable.of((dataset.texts[place] for place in order), embedder)
    order = np.array([p for p in order if table.known(dataset.texts[p])], dtype=np.int64)
    part = replace(
        dataset,
        texts=tuple(dataset.texts[place] for place in order[: options.requests]),
        intents=tuple(dataset.intents[place] for place in order[: options.requests]),
    )
    drawn = stream_of_intents(part, seed=options.seed, **_law(options))
    stream = _stream(drawn.requests, f"{dataset.name}: {drawn}; truth: the intent")
    rest = order[options.requests : options.requests + _CERTIFYING]
    certifying = nearest_pairs(
        [(dataset.texts[place], dataset.intents[place]) for place in rest], stream.texts, table
    )
    return Material(
        table=table,
        stream=stream,
        certifying=certifying,
        questions=tuple(dict.fromkeys(part.texts)),
        notes={"embedder": table.id, "certifying_pairs": len(certifying)},
    )


def _of_log(dataset: QueryLog, options: CacheBenchOptions, embedder: Embedder | None) -> Material:
    queries = list(dataset.queries)
    if embedder is None:
        cut = round(len(queries) * _LSA_SHARE)
        embedder = _lsa(queries[:cut], options.seed)
        queries = queries[cut:]
    queries = queries[: options.log_requests]
    table = VectorTable.of(queries, embedder)
    known = tuple(query for query in queries if table.known(query))
    stream = Stream(
        texts=known,
        groups=None,
        about=f"{dataset.name}: {len(known):,} queries in the order they were asked; nobody says "
        "which of them have one answer",
    )
    notes = {
        "queries": len(dataset.queries),
        "exact_repeats": log_shape(dataset).repeated_ratio,
        "left_out": {"unknown_to_embedder": len(queries) - len(known)},
        "embedder": table.id,
    }
    return Material(table=table, stream=stream, questions=tuple(dict.fromkeys(known)), notes=notes)


def _stream_of(pairs: Sequence[LabelledPair], name: str, options: CacheBenchOptions) -> Stream:
    """Whole components of pairs, labelled the same or not: so that the hard ones meet."""
    of = components((normalise(pair.text_a), normalise(pair.text_b)) for pair in pairs)
    number = np.array([of[normalise(pair.text_a)] for pair in pairs], dtype=np.int64)
    order = np.random.default_rng(options.seed).permutation(int(number.max()) + 1)
    texts = np.bincount(np.fromiter(of.values(), np.int64))
    enough = int(np.searchsorted(np.cumsum(texts[order]), options.requests)) + 1
    taken = set(order[:enough].tolist())
    chosen = tuple(pair for pair, each in zip(pairs, number, strict=True) if each in taken)
    drawn = stream_of_pairs(PairSet(name=name, pairs=chosen), seed=options.seed, **_law(options))
    return _stream(
        drawn.requests,
        f"{name}, the half that reports: {drawn}; truth: joined by pairs labelled the same, so "
        "that a hit between questions nobody compared counts as wrong",
    )


def _law(options: CacheBenchOptions) -> dict[str, Any]:
    if options.exponent is None:
        return {}
    return {"count": options.requests, "exponent": options.exponent}


def _stream(requests: Sequence[Any], about: str) -> Stream:
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(request.item, len(numbers)) for request in requests]
    return Stream(
        texts=tuple(request.text for request in requests),
        groups=np.array(groups, dtype=np.int32),
        about=about,
    )


def _table(dataset: PairSet, texts: Sequence[str], embedder: Embedder | None) -> VectorTable:
    if dataset.vectors is None:
        return VectorTable.of(texts, _given(embedder))
    rows, matrix = dataset.vectors
    distinct = list(dict.fromkeys(texts))
    missing = [text for text in distinct if text not in rows]
    if missing and embedder is None:
        raise InputError(
            f"{dataset.name}: {len(missing)} texts have no stored vector, such as "
            f"{missing[0][:60]!r}; pass the embedder that made the others"
        )
    places = {text: row for row, text in enumerate(rows)}
    stored = np.asarray(matrix)[np.fromiter(rows.values(), np.int64)]
    return VectorTable(places, stored, id=f"{dataset.name}/stored", fallback=embedder)


def _given(embedder: Embedder | None) -> Embedder:
    if embedder is None:
        raise InputError("no embedder; expected one, or a dataset with vectors")
    return embedder


def _lsa(texts: Sequence[str], seed: int) -> LSAEmbedder:
    return LSAEmbedder.fit(texts, dim=_LSA_DIM, seed=seed)


def _texts(pairs: Sequence[LabelledPair]) -> list[str]:
    return [text for pair in pairs for text in (pair.text_a, pair.text_b)]


def _drawn(pairs: Sequence[LabelledPair], wanted: int | None, seed: int) -> list[LabelledPair]:
    if wanted is None or wanted >= len(pairs):
        return list(pairs)
    return [pairs[place] for place in _some(np.arange(len(pairs)), wanted, seed)]


def _some(places: NDArray[np.int64], wanted: int, seed: int) -> NDArray[np.int64]:
    """As many as wanted, drawn without regard to what they are, in their order."""
    if wanted >= len(places):
        return places
    drawn = np.random.default_rng(seed).permutation(len(places))[:wanted]
    return places[np.sort(drawn)]
