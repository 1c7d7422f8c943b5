"""Reordering hits, the prior of the search, and scorers that misbehave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragopt.rerank
from ragopt.chunk import Chunk, Hit
from ragopt.errors import InputError
from ragopt.rerank import Reranker, rerank
from ragopt.rerank.base import convex, passage


@dataclass
class Returning:
    """A scorer that returns what it is told to."""

    scores: Any

    def score(self, query: str, chunks: Sequence[Chunk]) -> Any:
        return self.scores


def hits(*scores: float) -> list[Hit]:
    return [Hit(Chunk(str(place), f"text {place}"), score) for place, score in enumerate(scores)]


SCORES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)


@given(SCORES)
def test_hits_come_back_best_first_and_equal_ones_in_order_of_arrival(scores: list[float]) -> None:
    arrived = hits(*range(len(scores)))
    found = rerank(Returning(scores), "query", arrived)
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    assert [hit.chunk for hit in found] == [arrived[place].chunk for place in expected]
    assert [hit.score for hit in found] == [scores[place] for place in expected]


def test_the_scores_it_arrived_with_count_only_with_a_weight() -> None:
    arrived = hits(0.2, 0.8, 0.4)
    scorer = Returning([4.0, 1.0, 2.0])
    assert [hit.chunk.id for hit in rerank(scorer, "q", arrived)] == ["0", "2", "1"]
    weighted = rerank(scorer, "q", arrived, prior_weight=2.0)
    # 4/4 + 2 * 0.2/0.8, 1/4 + 2 * 0.8/0.8, 2/4 + 2 * 0.4/0.8
    assert [(hit.chunk.id, round(hit.score, 5)) for hit in weighted] == [
        ("1", 2.25),
        ("0", 1.5),
        ("2", 1.5),
    ]


@given(SCORES, st.floats(0, 3))
def test_a_prior_that_says_nothing_changes_no_order(scores: list[float], weight: float) -> None:
    arrived = hits(*[0.5] * len(scores))
    spread = [round(score) / 8 for score in scores]  # far enough apart for float32
    plain = rerank(Returning(spread), "q", arrived)
    weighted = rerank(Returning(spread), "q", arrived, prior_weight=weight)
    assert [hit.chunk.id for hit in weighted] == [hit.chunk.id for hit in plain]


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_prior_weight_has_to_be_a_number_from_zero(weight: float) -> None:
    for arrived in (hits(0.5), []):
        with pytest.raises(InputError, match="prior_weight"):
            rerank(Returning([1.0]), "q", arrived, prior_weight=weight)


@pytest.mark.parametrize(
    "scores", [[], [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], 1.0, [1.0, math.nan], [[1.0], [2.0]]]
)
def test_a_scorer_without_a_number_for_each_chunk_is_named(scores: Any) -> None:
    with pytest.raises(InputError, match=r"Returning returned shape .* for 2 chunks"):
        rerank(Returning(scores), "q", hits(0.1, 0.2))


def test_infinite_scores_have_an_order_too() -> None:
    found = rerank(Returning([0.0, -math.inf, math.inf]), "q", hits(0, 0, 0))
    assert [hit.chunk.id for hit in found] == ["2", "0", "1"]


def test_no_hit_asks_no_scorer() -> None:
    assert rerank(Returning([1.0]), "q", []) == []


def test_the_title_is_read_before_the_text() -> None:
    assert passage(Chunk("a", "text", title="Title")) == "Title\ntext"
    assert passage(Chunk("a", "text")) == "text"


def test_convex_divides_by_the_largest_absolute_score() -> None:
    first, second = np.array([2, 4, 1], np.float32), np.array([-1, -2, 0], np.float32)
    np.testing.assert_allclose(convex([first, second], [1.0, 0.5]), [0.25, 0.5, 0.25])
    np.testing.assert_array_equal(convex([np.zeros(2, np.float32)], [1.0]), [0, 0])
    assert convex([np.empty(0, np.float32)], [1.0]).shape == (0,)


def test_the_shipped_scorers_are_rerankers_and_exported() -> None:
    for name in ("BM25Reranker", "ConvexReranker", "CosineReranker", "FusionReranker"):
        assert issubclass(getattr(ragopt.rerank, name), Reranker)
    assert ragopt.rerank.__all__ == sorted(ragopt.rerank.__all__)
    assert all(hasattr(ragopt.rerank, name) for name in ragopt.rerank.__all__)
