"""The scorers of the rerank bench: the library's own, and peers that run where weights are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.context.rankings import Pool
from ragopt.benchmarks.datasets.types import RetrievalSet
from ragopt.chunk import Chunk
from ragopt.corpus import COSINE_WEIGHT
from ragopt.errors import BackendMissing, InputError
from ragopt.rerank import (
    BM25Reranker,
    ConvexReranker,
    CorpusStatistics,
    CosineReranker,
    CrossEncoderReranker,
    FusionReranker,
    LateInteraction,
    LLMReranker,
    RemoteReranker,
    Reranker,
)
from ragopt.rerank.base import passage

if TYPE_CHECKING:
    from ragopt.embed import Embedder

__all__ = [
    "FIRST_STAGE",
    "PEER_ENVIRONMENT",
    "REMOTE",
    "FirstStage",
    "FlashRankScorer",
    "RerankersScorer",
    "Scorer",
    "VectorScorer",
    "own_scorers",
    "peer_scorers",
]

FIRST_STAGE = "first-stage"
PEER_ENVIRONMENT: Mapping[str, str] = {
    "cross-encoder": "RAGOPT_CROSS_ENCODER",
    "rerankers": "RAGOPT_CROSS_ENCODER",
    "flashrank": "RAGOPT_FLASHRANK_MODEL",
    "late-interaction": "RAGOPT_LATE_INTERACTION",
    "late-fused": "RAGOPT_LATE_INTERACTION",
    "llm": "RAGOPT_LLM_RERANKER",
}
REMOTE: Mapping[str, tuple[str, str]] = {
    "cohere": ("cohere/rerank-v3.5", "COHERE_API_KEY"),
    "jina": ("jina_ai/jina-reranker-v2-base-multilingual", "JINA_AI_API_KEY"),
    "voyage": ("voyage/rerank-2.5", "VOYAGE_API_KEY"),
}
"""Model and the environment variable of its key, by candidate."""
_LATE_WEIGHT = 1.0  # beside a cosine of 1.0: no weight is fitted on what is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A candidate of the rerank bench.

    Args:
        make: builds it; may raise, which is then the reason why it is missing.
        cost: ``"model"`` for one that runs a model on every pair: on one first stage only.
        setting: what a reader of the figure should know.
    """

    make: Callable[[], Reranker]
    cost: str = "lexical"
    setting: str = ""


class FirstStage:
    """The order that came in."""

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:  # noqa: ARG002
        """Scores (n,) that fall from the first to the last."""
        return -np.arange(len(chunks), dtype=np.float32)


class VectorScorer:
    """Cosines with vectors of the documents that stand ready, as they do in a vector index.

    Args:
        vectors: row of a document to its unit vector.
        queries: text to unit vector, where the set has them; else ``embed`` is asked, and its time
            counts.
        id: names the vectors; with an embedder's, as `CosineReranker` has it.
    """

    def __init__(
        self,
        vectors: Mapping[int, NDArray[np.float32]],
        queries: Mapping[str, NDArray[np.float32]],
        embed: Callable[[str], NDArray[np.float32]] | None,
        *,
        id: str = "",
    ) -> None:
        self.id = id
        self._vectors = vectors
        self._queries = queries
        self._embed = embed

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Cosines (n,)."""
        asked = self._queries.get(query)
        if asked is None:
            if self._embed is None:
                raise InputError(f"no vector of the query {query[:60]!r}, and no embedder")
            asked = self._embed(query)
        if not chunks:
            return np.empty(0, dtype=np.float32)
        rows = np.stack([self._vectors[int(chunk.id)] for chunk in chunks])
        return np.asarray(rows @ asked, dtype=np.float32)


def own_scorers(
    dataset: RetrievalSet, pool: Pool, rows: Sequence[int], embedder: Embedder | None
) -> dict[str, Scorer]:
    """Everything that runs no model on pairs, by name.

    Args:
        dataset: for its vectors.
        pool: the documents.
        rows: of the candidates; only these are embedded.
        embedder: where the set has no vectors; LSA fitted on the documents when not given.
    """
    statistics = CorpusStatistics.fit(pool.chunks)
    vectors, setting = _vector_scorer(dataset, pool, rows, embedder)

    def parts() -> list[Reranker]:
        return [BM25Reranker(statistics), vectors]

    weights = [1.0, COSINE_WEIGHT]
    return {
        FIRST_STAGE: Scorer(make=FirstStage),
        "bm25": Scorer(
            make=lambda: BM25Reranker(statistics), setting="word statistics of the whole corpus"
        ),
        "cosine": Scorer(make=lambda: vectors, setting=setting),
        "fused": Scorer(
            make=lambda: ConvexReranker(parts(), weights=weights),
            setting=f"BM25 + {COSINE_WEIGHT} cosine, each over its maximum; {setting}",
        ),
        "fused-rrf": Scorer(
            make=lambda: FusionReranker(parts()),
            setting=f"reciprocal ranks of BM25 and cosine, k=60; {setting}",
        ),
    }


def _vector_scorer(
    dataset: RetrievalSet, pool: Pool, rows: Sequence[int], embedder: Embedder | None
) -> tuple[VectorScorer, str]:
    if dataset.vectors is not None and dataset.query_vectors is not None:
        stored = {row: _unit(dataset.vectors[row]) for row in rows}
        asked = {dataset.queries[one]: _unit(v) for one, v in dataset.query_vectors.items()}
        own = VectorScorer(stored, asked, None, id=f"cosine({dataset.name}/stored)")
        return own, "vectors that come with the set"
    if embedder is None:
        from ragopt.embed import LSAEmbedder

        embedder = LSAEmbedder.fit(passage(chunk) for chunk in pool.chunks)
    made = embedder.embed([passage(pool.chunks[row]) for row in rows])
    stored = dict(zip(rows, made, strict=True))
    embed = embedder.embed
    name = f"{embedder.id}, documents embedded beforehand"
    named = f"cosine({embedder.id})"
    return VectorScorer(stored, {}, lambda text: embed([text])[0], id=named), name


def _unit(vector: Any) -> NDArray[np.float32]:
    array = np.asarray(vector, dtype=np.float32)
    return np.asarray(array / (np.linalg.norm(array) or 1.0), dtype=np.float32)


def peer_scorers(models: Mapping[str, str], *, device: str) -> dict[str, Scorer]:
    """Scorers that need weights, by name.

    Args:
        models: scorer to hub name or folder, before what the environment names.
        device: of the models.
    """
    makers: dict[str, Callable[[str], Reranker]] = {
        "cross-encoder": lambda model: CrossEncoderReranker(model, device=device),
        "rerankers": lambda model: RerankersScorer(model, device=device),
        "flashrank": FlashRankScorer,
        "late-interaction": lambda model: _late(model, device),
        "late-fused": lambda model: _late_fused(model, device),
        "llm": _llm,
    }
    remote = {
        name: Scorer(make=partial(_remote, *named), cost="model", setting=named[0])
        for name, named in REMOTE.items()
    }
    local = {
        name: Scorer(make=partial(_make, name, models.get(name, ""), make), cost="model")
        for name, make in makers.items()
    }
    return local | remote


def _make(name: str, model: str, make: Callable[[str], Reranker]) -> Reranker:
    variable = PEER_ENVIRONMENT[name]
    named = model or os.environ.get(variable, "")
    if not named:
        raise InputError(
            f"no weights: name a model or a local folder in {variable} or in the options"
        )
    return make(named)


def _late(model: str, device: str) -> LateInteraction:
    from ragopt.embed import SentenceTransformerEmbedder

    return LateInteraction(SentenceTransformerEmbedder(model, device=device))


def _late_fused(model: str, device: str) -> Reranker:
    """Late interaction and the cosine of the same model, alike."""
    from ragopt.embed import SentenceTransformerEmbedder

    embedder = SentenceTransformerEmbedder(model, device=device)
    parts: list[Reranker] = [LateInteraction(embedder), CosineReranker(embedder)]
    return ConvexReranker(parts, weights=[_LATE_WEIGHT, 1.0])


def _llm(model: str) -> Reranker:
    """A model behind the endpoint that OPENAI_BASE_URL names, OpenAI's by default."""
    from ragopt.llm import OpenAIClient
    from ragopt.llm.openai_request import DEFAULT_BASE_URL

    base_url = os.environ.get("OPENAI_BASE_URL", DEFAULT_BASE_URL)
    return LLMReranker(OpenAIClient(model=model, base_url=base_url))


def _remote(model: str, variable: str) -> Reranker:
    if not os.environ.get(variable):
        raise InputError(f"no key: put one for {model} in {variable}")
    return RemoteReranker(model)


class RerankersScorer:
    """A cross-encoder through the package rerankers (Clavié, 2024, arXiv 2408.17344).

    Args:
        model: hub name or local folder.
        device: of the model.

    Raises:
        BackendMissing: rerankers is not installed.
        InputError: it has no such model; it then prints why and returns None, or raises.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        try:
            make = import_module("rerankers").Reranker
        except ImportError as error:
            raise BackendMissing("rerankers", "models", "reranking with rerankers") from error
        try:
            self._ranker = make(model, model_type="cross-encoder", device=device, verbose=0)
        except Exception as error:
            raise InputError(f"rerankers could not load {model!r}: {error}") from error
        if self._ranker is None:
            raise InputError(
                f"rerankers has no cross-encoder {model!r}; expected a hub name or a folder, and "
                "rerankers[transformers] installed"
            )

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Logits (n,)."""
        if not chunks:
            return np.empty(0, dtype=np.float32)
        texts = [passage(chunk) for chunk in chunks]
        ranked = self._ranker.rank(query=query, docs=texts, doc_ids=list(range(len(texts))))
        scores = np.full(len(chunks), np.nan, dtype=np.float32)
        for result in ranked.results:
            scores[result.doc_id] = result.score
        return scores


class FlashRankScorer:
    """An ONNX cross-encoder through FlashRank.

    Args:
        model: folder of the model, named as FlashRank names it; it is never downloaded here,
            since a download that fails leaves an empty folder which then counts as the model.

    Raises:
        BackendMissing: flashrank is not installed.
        InputError: no such folder, of no name that FlashRank knows, or without its files.
    """

    def __init__(self, model: str) -> None:
        try:
            package = import_module("flashrank")
        except ImportError as error:
            raise BackendMissing("flashrank", "models", "reranking with FlashRank") from error
        folder = Path(model)
        if not folder.is_dir():
            raise InputError(
                f"flashrank: {model!r} is no folder; expected one with the unpacked model, "
                "named as FlashRank names it, such as ms-marco-TinyBERT-L-2-v2"
            )
        try:
            self._ranker = package.Ranker(
                model_name=folder.name, cache_dir=str(folder.parent), log_level="WARNING"
            )
        except Exception as error:
            raise InputError(
                f"flashrank could not load {model!r}: {type(error).__name__}: {error}"
            ) from error
        self._request = package.RerankRequest

    def score(self, query: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Probabilities (n,)."""
        if not chunks:
            return np.empty(0, dtype=np.float32)
        passages = [{"id": place, "text": passage(one)} for place, one in enumerate(chunks)]
        scores = np.full(len(chunks), np.nan, dtype=np.float32)
        for result in self._ranker.rerank(self._request(query=query, passages=passages)):
            scores[result["id"]] = result["score"]
        return scores
