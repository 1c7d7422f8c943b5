"""Reciprocal rank fusion by hand and by its invariances; weighted sums of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import (
    BM25Reranker,
    ConvexReranker,
    FusionReranker,
    Reranker,
    reciprocal_rank_fusion,
    rerank,
)


@dataclass
class Returning:
    """A scorer that returns what it is told to."""

    scores: Any

    def score(self, query: str, chunks: Sequence[Chunk]) -> Any:
        return self.scores


CHUNKS = [Chunk("a", "river lake"), Chunk("b", "river river"), Chunk("c", "bread")]

TABLES = st.integers(1, 8).flatmap(
    lambda count: st.lists(
        st.lists(st.integers(-3, 3), min_size=count, max_size=count), min_size=1, max_size=4
    )
)


def test_fusion_by_hand() -> None:
    # Ranks 1 2 3 by the first scorer; 3 1 1 by the second, whose best two are equal.
    fused = reciprocal_rank_fusion([[0.9, 0.5, 0.1], [1, 7, 7]], k=60)
    expected = [1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 61]
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, expected, rtol=1e-6)
    assert fused[0] == fused[2]


def test_weights_and_damping_by_hand() -> None:
    fused = reciprocal_rank_fusion([[2, 1], [1, 2]], k=1, weights=[3.0, 0.5])
    np.testing.assert_allclose(fused, [3 / 2 + 0.5 / 3, 3 / 3 + 0.5 / 2], rtol=1e-6)


@given(TABLES, st.integers(1, 100))
def test_fusion_is_the_sum_over_counted_ranks(table: list[list[int]], k: int) -> None:
    expected = [
        sum(1 / (k + 1 + sum(other > scores[item] for other in scores)) for scores in table)
        for item in range(len(table[0]))
    ]
    np.testing.assert_allclose(reciprocal_rank_fusion(table, k=k), expected, rtol=1e-6)


@given(TABLES, st.randoms(use_true_random=False))
def test_fusion_follows_the_items_and_ignores_the_order_of_scorers(
    table: list[list[int]], random: Any
) -> None:
    fused = reciprocal_rank_fusion(table)
    order = list(range(len(fused)))
    random.shuffle(order)
    moved = reciprocal_rank_fusion([[scores[place] for place in order] for scores in table])
    np.testing.assert_array_equal(moved, fused[order])
    np.testing.assert_allclose(reciprocal_rank_fusion(table[::-1]), fused, rtol=1e-6)


@given(TABLES)
def test_fusion_sees_ranks_only(table: list[list[int]]) -> None:
    stretched = [[math.exp(score) * 1e6 - 5 for score in scores] for scores in table]
    np.testing.assert_array_equal(reciprocal_rank_fusion(stretched), reciprocal_rank_fusion(table))


def test_infinite_scores_have_ranks() -> None:
    fused = reciprocal_rank_fusion([[math.inf, 0.0, -math.inf]])
    np.testing.assert_allclose(fused, [1 / 61, 1 / 62, 1 / 63], rtol=1e-6)


def test_no_item_gives_no_score() -> None:
    assert reciprocal_rank_fusion([[], []]).shape == (0,)


@pytest.mark.parametrize(
    ("scores", "options", "complaint"),
    [
        ([], {}, "no scorer"),
        ([[1.0, 2.0], [1.0]], {}, r"shapes \[\(2,\), \(1,\)\]"),
        ([[[1.0, 2.0]]], {}, "shapes"),
        ([1.0], {}, "shapes"),
        ([[1.0, math.nan]], {}, "NaN"),
        ([[1.0]], {"k": 0}, "k=0"),
        ([[1.0]], {"weights": [1.0, 1.0]}, "expected 1 numbers"),
        ([[1.0]], {"weights": [-1.0]}, "weights"),
        ([[1.0]], {"weights": [math.nan]}, "weights"),
        ([[1.0], [1.0]], {"weights": [0.0, 0.0]}, "weights"),
    ],
)
def test_what_cannot_be_fused_is_rejected(
    scores: Any, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        reciprocal_rank_fusion(scores, **options)


def test_the_fusion_reranker_fuses_its_rerankers() -> None:
    scorer = FusionReranker([BM25Reranker(), Returning([1.0, 2.0, 3.0])], weights=[2.0, 1.0], k=10)
    scores = scorer.score("river", CHUNKS)  # BM25: b, a, c
    np.testing.assert_allclose(scores, [2 / 12 + 1 / 13, 2 / 11 + 1 / 12, 2 / 13 + 1 / 11])
    assert isinstance(scorer, Reranker)
    assert "weights=[2.0, 1.0]" in repr(scorer)


def test_the_convex_reranker_adds_shares_of_the_maximum() -> None:
    scorer = ConvexReranker([Returning([2.0, 4.0, 0.0]), Returning([0.5, 0.1, 0.2])])
    np.testing.assert_allclose(scorer.score("q", CHUNKS), [1.5, 1.2, 0.4], rtol=1e-6)
    weighted = ConvexReranker([Returning([2, 4, 0]), Returning([-1, -2, 0])], weights=[1, 0.25])
    np.testing.assert_allclose(weighted.score("q", CHUNKS), [0.375, 0.75, 0.0])
    assert "weights=[1, 0.25]" in repr(weighted)


@given(
    st.lists(st.integers(-100, 100), min_size=3, max_size=3),
    st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3),
    st.sampled_from([0.25, 8.0, 1024.0]),
)
def test_the_scale_of_a_scorer_does_not_matter(
    first: list[int], second: list[float], scale: float
) -> None:
    plain = ConvexReranker([Returning(first), Returning(second)]).score("q", CHUNKS)
    scaled = [score * scale for score in first]
    found = ConvexReranker([Returning(scaled), Returning(second)]).score("q", CHUNKS)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [FusionReranker, ConvexReranker])
@pytest.mark.parametrize(
    "scores", [[1.0, 2.0], [1.0], 1.0, [1.0, math.nan, 2.0], [[1.0, 2.0, 3.0]]]
)
def test_a_scorer_without_a_number_for_each_chunk_is_named(kind: Any, scores: Any) -> None:
    scorer = kind([BM25Reranker(), Returning(scores)])
    with pytest.raises(InputError, match="Returning returned shape"):
        scorer.score("river", CHUNKS)


@pytest.mark.parametrize("kind", [FusionReranker, ConvexReranker])
def test_fused_rerankers_rerank_and_take_no_chunk(kind: Any) -> None:
    scorer = kind([BM25Reranker()])
    hits = [Hit(chunk, 0.0) for chunk in CHUNKS]
    assert [hit.chunk.id for hit in rerank(scorer, "river", hits)] == ["b", "a", "c"]
    assert scorer.score("river", []).shape == (0,)


@pytest.mark.parametrize("kind", [FusionReranker, ConvexReranker])
@pytest.mark.parametrize(
    ("rerankers", "weights"),
    [
        ([], None),
        ([BM25Reranker()], [1.0, 2.0]),
        ([BM25Reranker()], [0.0]),
        ([BM25Reranker()], [-1.0]),
    ],
)
def test_weights_that_do_not_fit_are_rejected_at_once(
    kind: Any, rerankers: list[Reranker], weights: list[float] | None
) -> None:
    with pytest.raises(InputError, match=r"no scorer|weights"):
        kind(rerankers, weights=weights)
