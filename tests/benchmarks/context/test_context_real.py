"""On the real data: published figures come out again."""

from __future__ import annotations

import pytest

from ragopt.benchmarks.context import (
    CompressBenchOptions,
    RerankBenchOptions,
    bench_compress,
    bench_rerank,
    recheck,
)
from ragopt.benchmarks.datasets import ContextSet, RetrievalSet, data_folder, load

pytestmark = pytest.mark.data


@pytest.fixture(autouse=True)
def _needs_the_data() -> None:
    if data_folder() is None:
        pytest.skip("RAGOPT_DATA names no folder with the evaluation data")


def test_bm25_on_dl19_has_its_published_ndcg() -> None:
    dataset = load("msmarco_dl19")
    assert isinstance(dataset, RetrievalSet)
    options = RerankBenchOptions(only=("first-stage", "cosine"), counter="estimate")
    result = bench_rerank(dataset, options=options)
    assert recheck(result) == []
    # .506 over all that was judged; the set holds the judgements of its own passages only.
    assert result.value("rerank/first-stage/msmarco_dl19/ndcg_at_10") == pytest.approx(
        0.506, abs=0.003
    )
    by_run = result.details["scorers"]["first-stage"]["ndcg_by_run"]
    assert by_run["D_BERT_KD_TASB"] == pytest.approx(0.721, abs=0.01)
    cosine = result.value("rerank/cosine/msmarco_dl19/ndcg_at_10")
    assert cosine is not None
    assert cosine > 0.6


def test_supporting_facts_of_hotpotqa_survive_halving() -> None:
    dataset = load("hotpotqa")
    assert isinstance(dataset, ContextSet)
    options = CompressBenchOptions(only=("extractive",), quick=True, counter="estimate")
    result = bench_compress(dataset, options=options)
    assert recheck(result) == []
    kept = result.value("compress/extractive/hotpotqa/evidence_recall_at_2x")
    assert kept is not None
    assert kept > 0.95
