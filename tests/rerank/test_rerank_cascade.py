"""A cheap scorer, then a dear one: what it sees, its limits, and what is said of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from rerank_made import ByNumber, Priced, Raises, chunks_of, order_of, wait_until

from ragopt.chunk import Chunk
from ragopt.errors import InputError
from ragopt.rerank import BM25Reranker, Cascade

CHUNKS = chunks_of("a 3", "b 1", "c 5", "d 2", "e 4")
CHEAP_ORDER = [2, 4, 0, 3, 1]


def test_the_dear_scorer_sees_what_the_cheap_one_leaves() -> None:
    dear = ByNumber()
    cascade = Cascade(ByNumber(), dear, keep=2)
    assert order_of(cascade.score("q", CHUNKS)) == CHEAP_ORDER
    assert dear.seen == [["c 5", "e 4"]]


def test_its_order_stands_above_the_rest_which_keeps_its_own() -> None:
    found = Cascade(ByNumber(), Priced(), keep=3).scored("q", CHUNKS)
    assert order_of(found.values) == [0, 4, 2, 3, 1]
    assert found.usd == Decimal("0.03")
    assert found.read_in_part == (2,)  # the first that the dear one saw
    assert len(found.notes) == 1
    assert "scored: 3 chunks" in found.notes[0]


@pytest.mark.parametrize("keep", [1, 5, 99])
def test_any_number_may_be_kept(keep: int) -> None:
    values = Cascade(ByNumber(), Priced(), keep=keep).score("q", CHUNKS)
    kept = CHEAP_ORDER[:keep]
    assert order_of(values) == [*reversed(kept), *CHEAP_ORDER[keep:]]
    assert Cascade(ByNumber(), Priced(), keep=keep).score("q", []).shape == (0,)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9, -1e9])
def test_the_rest_stays_below_at_any_scale(scale: float) -> None:
    class Huge:
        def score(self, query: str, chunks: Sequence[Chunk]) -> np.ndarray[Any, Any]:
            return np.full(len(chunks), scale, dtype=np.float32)

    values = Cascade(ByNumber(), Huge(), keep=2).score("q", CHUNKS)
    assert values[[2, 4]].min() > values[[0, 3, 1]].max()
    assert list(values[[0, 3, 1]]) == sorted(set(values[[0, 3, 1]].tolist()), reverse=True)


@pytest.mark.parametrize("dear", [Raises(), Priced(fail="busy")])
def test_a_dear_scorer_that_fails_leaves_the_cheap_order(dear: Any) -> None:
    cascade = Cascade(ByNumber(), dear, keep=3)
    found = cascade.scored("q", CHUNKS)
    assert order_of(found.values) == CHEAP_ORDER
    assert "failed" in found.notes[-1]
    assert found.failed == ""
    assert cascade.outcomes == {"failed": 1}


def test_what_a_failed_call_was_billed_is_told() -> None:
    assert Cascade(ByNumber(), Priced(fail="busy"), keep=3).scored("q", CHUNKS).usd == Decimal(
        "0.03"
    )


def test_as_many_chunks_as_the_dollars_allow_are_scored() -> None:
    dear = Priced()
    cascade = Cascade(ByNumber(), dear, keep=5, max_usd="0.035")
    found = cascade.scored("q", CHUNKS)
    assert dear.seen == [3]
    assert found.usd == Decimal("0.03")
    assert order_of(found.values) == [0, 4, 2, 3, 1]
    assert cascade.outcomes == {"fewer": 1}


def test_a_price_beyond_the_limit_leaves_the_dear_scorer_out() -> None:
    dear = Priced()
    cascade = Cascade(ByNumber(), dear, keep=5, max_usd=0.015)
    found = cascade.scored("q", CHUNKS)
    assert dear.seen == []
    assert (found.usd, cascade.outcomes) == (0, {"too dear": 1})
    assert order_of(found.values) == CHEAP_ORDER


def test_a_limit_in_dollars_needs_a_price() -> None:
    with pytest.raises(InputError, match=r"BM25Reranker has no quote"):
        Cascade(ByNumber(), BM25Reranker(), max_usd=1)


def test_a_slow_scorer_is_not_waited_for_and_slow_ones_do_not_pile_up() -> None:
    gate = threading.Event()
    asked: list[int] = []

    class Slow(Priced):
        def score(self, query: str, chunks: Sequence[Chunk]) -> Any:
            raise AssertionError

        def scored(self, query: str, chunks: Sequence[Chunk]) -> Any:
            asked.append(len(chunks))
            gate.wait(20)
            return super().scored(query, chunks)

    cascade = Cascade(ByNumber(), Slow(), keep=3, max_ms=5)
    for _ in range(6):
        found = cascade.scored("q", CHUNKS)
        assert order_of(found.values) == CHEAP_ORDER
    assert cascade.outcomes == {"too slow": 4, "busy": 2}
    assert len(asked) == 4
    gate.set()
    wait_until(lambda: cascade._abandoned == 0)


def test_a_call_that_was_given_up_may_have_been_billed() -> None:
    gate = threading.Event()

    class Slow(Priced):
        def scored(self, query: str, chunks: Sequence[Chunk]) -> Any:
            gate.wait(20)
            return super().scored(query, chunks)

    found = Cascade(ByNumber(), Slow(), max_ms=5).scored("q", CHUNKS)
    gate.set()
    assert found.usd is None


def test_one_in_time_is_waited_for() -> None:
    cascade = Cascade(ByNumber(), Priced(), keep=3, max_ms=20_000)
    assert order_of(cascade.score("q", CHUNKS)) == [0, 4, 2, 3, 1]
    assert cascade.outcomes == {"scored": 1}


@pytest.mark.parametrize(
    "options", [{"keep": 0}, {"keep": 1.5}, {"max_ms": 0}, {"max_ms": math.nan}]
)
def test_limits_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Cascade(ByNumber(), Priced(), **options)


def test_its_own_quote_is_that_of_what_it_keeps() -> None:
    assert Cascade(ByNumber(), Priced(), keep=3).quote("q", CHUNKS) == Decimal("0.03")
    limited = Cascade(ByNumber(), Priced(), keep=3, max_usd="0.02")
    assert limited.quote("q", CHUNKS) == Decimal("0.02")
