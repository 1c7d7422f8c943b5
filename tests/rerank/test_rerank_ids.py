"""A scorer's id names what the scale of its scores depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragopt.chunk import Chunk
from ragopt.embed import CallableEmbedder
from ragopt.rerank import (
    BM25Reranker,
    Cascade,
    ConvexReranker,
    CorpusStatistics,
    CosineReranker,
    Deduplicated,
    FusionReranker,
    LLMReranker,
    MMRReranker,
    Reranker,
    Windowed,
    scorer_id,
)

EMBEDDER = CallableEmbedder(lambda texts: np.ones((len(texts), 2)), id="ones", dim=2)


class Plain:
    def score(self, query: str, chunks: Sequence[Chunk]) -> np.ndarray:
        return np.zeros(len(chunks), dtype=np.float32)


def statistics(*texts: str) -> CorpusStatistics:
    return CorpusStatistics.fit(Chunk(id=text, text=text) for text in texts)


def cosine(name: str) -> CosineReranker:
    return CosineReranker(CallableEmbedder(lambda texts: np.ones((len(texts), 2)), id=name, dim=2))


def test_a_scorer_without_an_id_goes_by_its_type() -> None:
    assert scorer_id(Plain()) == "Plain"
    assert isinstance(Plain(), Reranker)


def test_settings_and_statistics_tell_scorers_apart() -> None:
    scorers: list[Reranker] = [
        BM25Reranker(),
        BM25Reranker(k1=0.9),
        BM25Reranker(b=0.5),
        BM25Reranker(statistics("river bread")),
        BM25Reranker(statistics("river engine")),
        cosine("a"),
        cosine("b"),
        ConvexReranker([BM25Reranker(), cosine("a")]),
        ConvexReranker([BM25Reranker(), cosine("a")], weights=[1, 0.5]),
        ConvexReranker([BM25Reranker(), cosine("b")]),
        FusionReranker([BM25Reranker(), cosine("a")]),
        FusionReranker([BM25Reranker(), cosine("a")], k=10),
        FusionReranker([Plain(), cosine("a")]),
        Cascade(BM25Reranker(), cosine("a"), keep=5),
        Cascade(BM25Reranker(), cosine("b"), keep=5),
        Cascade(BM25Reranker(), cosine("a"), keep=6),
        Windowed(cosine("a")),
        Windowed(cosine("b")),
        Deduplicated(cosine("a")),
        Deduplicated(cosine("a"), containment=0.9),
        MMRReranker(EMBEDDER),
        MMRReranker(EMBEDDER, reranker=BM25Reranker()),
        MMRReranker(EMBEDDER, trade_off=0.5),
        LLMReranker(lambda messages: "", model="gpt-5-mini"),
        LLMReranker(lambda messages: "", model="gpt-5-nano"),
    ]
    assert len({scorer_id(one) for one in scorers}) == len(scorers)


def test_the_same_settings_have_the_same_id() -> None:
    first, second = (BM25Reranker(statistics("river bread", "oven")) for _ in range(2))
    first.score("river", [Chunk(id="1", text="river")])
    assert scorer_id(first) == scorer_id(second)
    assert scorer_id(ConvexReranker([first, Plain()], weights=[1, 0.5])) == (
        f"convex(1 x {scorer_id(second)} + 0.5 x Plain)"
    )
