"""Times of what a question goes through: ``pytest --benchmark-only tests/benchmarks``.

On the embedded corpus; results are checked first. Indexes have benchmarks of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ragopt.benchmarks.embedded import load_embedded
from ragopt.cache import SemanticCache
from ragopt.chunk import Chunk, Hit
from ragopt.compress import Extractive, Truncate
from ragopt.compress.base import default_count
from ragopt.embed import CallableEmbedder
from ragopt.quality import mean_lower, paired_difference
from ragopt.rerank import BM25Reranker, CorpusStatistics

QUESTION = "How do I open a file for reading in text mode?"
DIM = 64


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    return list(load_embedded()[0])


@pytest.fixture(scope="module")
def hits(chunks: list[Chunk]) -> list[Hit]:
    return [Hit(chunk, 1.0 - place / 10) for place, chunk in enumerate(chunks[:10])]


def test_bm25_over_100_passages(benchmark: Any, chunks: list[Chunk]) -> None:
    scorer = BM25Reranker(CorpusStatistics.fit(chunks))
    some = chunks[:: len(chunks) // 100][:100]
    scores = scorer.score(QUESTION, some)
    words = [len({"open", "file", "reading", "text"} & set(each.text.split())) for each in some]
    assert scores.shape == (100,)
    assert scores[int(np.argmax(words))] > np.median(scores)
    benchmark(scorer.score, QUESTION, some)


@pytest.mark.parametrize("name", ["extractive", "truncate"])
def test_compressing_ten_chunks_to_a_quarter(benchmark: Any, hits: list[Hit], name: str) -> None:
    compressor = Extractive() if name == "extractive" else Truncate()
    count = default_count()
    before = sum(count(hit.chunk.text) for hit in hits)
    found = compressor.compress(QUESTION, hits, max_tokens=before // 4)
    assert 0 < found.tokens_after <= before // 4
    benchmark.extra_info.update(tokens_before=before, tokens_after=found.tokens_after)
    benchmark(compressor.compress, QUESTION, hits, max_tokens=before // 4)


@pytest.mark.parametrize("entries", [1_000, 10_000])
def test_looking_up_in_a_semantic_cache(benchmark: Any, entries: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((entries + 1, DIM)).astype(np.float32)

    def embed(texts: list[str]) -> list[Any]:
        return [vectors[int(text.rsplit(maxsplit=1)[1])] for text in texts]

    with SemanticCache(CallableEmbedder(embed, id="drawn", dim=DIM), threshold=0.95) as cache:
        for number in range(entries):
            cache.put(f"question {number}", f"answer {number}")
        hit = cache.get("question 7")
        assert hit is not None
        assert hit.answer == "answer 7"
        unseen = f"question {entries}"
        assert cache.get(unseen) is None
        benchmark(cache.get, unseen)


@pytest.mark.parametrize("count", [200, 1_000])
def test_a_paired_bound(benchmark: Any, count: int) -> None:
    rng = np.random.default_rng(0)
    before, after = (rng.random(count) < rate for rate in (0.80, 0.82))
    found = paired_difference(before, after)
    assert found.lower < found.mean < found.upper
    benchmark(paired_difference, before, after)


def test_a_bound_of_recall(benchmark: Any) -> None:
    recalls = np.random.default_rng(0).choice([0.8, 0.9, 1.0], size=1_000, p=[0.1, 0.2, 0.7])
    assert 0.94 < mean_lower(recalls) < recalls.mean()
    benchmark(mean_lower, recalls)
