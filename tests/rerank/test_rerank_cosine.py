"""Cosine between the question and the chunks, with embedders that really embed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ragopt.chunk import Chunk, Hit
from ragopt.embed import LSAEmbedder, StoredEmbedder
from ragopt.rerank import CosineReranker, Reranker, rerank

TEXTS = ["river lake water", "lake boat river", "bread oven flour", "oven salt bread"]


@pytest.fixture(scope="module")
def embedder() -> LSAEmbedder:
    return LSAEmbedder.fit(TEXTS, dim=3)


def test_scores_are_cosines_of_the_embedder(embedder: LSAEmbedder) -> None:
    chunks = [Chunk(str(number), text) for number, text in enumerate(TEXTS)]
    scores = CosineReranker(embedder).score("boat on a lake", chunks)
    question = embedder.embed(["boat on a lake"])[0]
    np.testing.assert_allclose(scores, embedder.embed(TEXTS) @ question, atol=1e-6)
    assert scores.dtype == np.float32
    assert (np.abs(scores) <= 1 + 1e-6).all()


def test_related_chunks_come_first(embedder: LSAEmbedder) -> None:
    hits = [Hit(Chunk(str(number), text), 0.0) for number, text in enumerate(TEXTS)]
    found = rerank(CosineReranker(embedder), "bread from the oven", hits)
    assert {hit.chunk.id for hit in found[:2]} == {"2", "3"}


def test_the_title_counts(embedder: LSAEmbedder) -> None:
    chunks = [Chunk("a", "bread", title="Oven"), Chunk("b", "bread", title="Lake")]
    scores = CosineReranker(embedder).score("lake", chunks)
    assert scores[1] > scores[0]


def test_what_the_embedder_knows_nothing_of_scores_zero(embedder: LSAEmbedder) -> None:
    scorer = CosineReranker(embedder)
    assert scorer.score("unheard", [Chunk("a", "river")]).tolist() == [0.0]
    assert scorer.score("river", [Chunk("a", "unheard")]).tolist() == [0.0]
    assert scorer.score("river", []).shape == (0,)
    assert isinstance(scorer, Reranker)
    assert "LSAEmbedder" in repr(scorer)


def test_a_stored_embedder_pays_for_a_chunk_once(embedder: LSAEmbedder, tmp_path: Path) -> None:
    chunks = [Chunk(str(number), text) for number, text in enumerate(TEXTS)]
    with closing(StoredEmbedder(embedder, tmp_path / "vectors.sqlite")) as store:
        first = CosineReranker(store).score("river", chunks)
        again = CosineReranker(store).score("bread", chunks)
        assert store.misses == len(TEXTS) + 2
    np.testing.assert_array_equal(first, CosineReranker(embedder).score("river", chunks))
    np.testing.assert_array_equal(again, CosineReranker(embedder).score("bread", chunks))
