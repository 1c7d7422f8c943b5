"""Parts of a corpus, and what a trace says about a load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.datasets.types import TraceSet
from ragopt.benchmarks.evidence import EvalItem
from ragopt.benchmarks.road import load_like, recorded_load, recorded_log
from ragopt.benchmarks.road.part import part_of
from ragopt.benchmarks.road.recorded import peak_factor
from ragopt.benchmarks.road.savings_report import Load
from ragopt.chunk import Chunk
from ragopt.errors import InputError

CHUNKS = [Chunk(id=f"c{place}", text=f"text {place}", source="s") for place in range(40)]
ITEMS = [
    EvalItem(
        id=f"q{place}",
        wordings=(f"question {place}",),
        answer="",
        gold=frozenset({f"c{place}", f"c{place + 10}"}),
    )
    for place in range(20)
]


@given(
    most_chunks=st.none() | st.integers(0, 60),
    most_questions=st.none() | st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_a_part_holds_the_gold_of_its_questions_and_keeps_order(
    most_chunks: int | None, most_questions: int | None, seed: int
) -> None:
    chunks, items = part_of(
        CHUNKS, ITEMS, most_chunks=most_chunks, most_questions=most_questions, seed=seed
    )
    assert len(items) == min(20, most_questions or 20)
    gold = set().union(*(item.gold for item in items))
    kept = {chunk.id for chunk in chunks}
    assert gold <= kept
    limit = 40 if most_chunks is None else most_chunks
    assert len(chunks) == min(40, max(limit, len(gold)))
    for part, whole in ((chunks, CHUNKS), (items, ITEMS)):
        places = [whole.index(each) for each in part]
        assert places == sorted(set(places))
    again = part_of(
        CHUNKS, ITEMS, most_chunks=most_chunks, most_questions=most_questions, seed=seed
    )
    assert again == (chunks, items)


def test_another_seed_takes_another_part() -> None:
    parts = {
        tuple(
            item.id
            for item in part_of(CHUNKS, ITEMS, most_chunks=None, most_questions=5, seed=seed)[1]
        )
        for seed in range(10)
    }
    assert len(parts) > 5


def trace(seconds: list[float], outputs: list[int] | None = None) -> TraceSet:
    count = len(seconds)
    return TraceSet(
        name="made",
        seconds=np.array(seconds, dtype=np.float64),
        input_tokens=np.full(count, 100),
        output_tokens=np.array(outputs or [50] * count),
    )


def test_the_busiest_minute_is_found_wherever_it_begins() -> None:
    even = [float(second) for second in range(600)]
    burst = sorted([*even, *np.linspace(95, 154, 120).tolist()])
    mean = len(burst) / burst[-1] * 60
    busiest = max(sum(begin <= each < begin + 60 for each in burst) for begin in burst)
    assert peak_factor(trace(burst)) == pytest.approx(busiest / mean)
    assert peak_factor(trace(burst)) > 2.4
    assert peak_factor(trace(even)) == pytest.approx(1, abs=0.01)


def test_answers_count_with_their_mean_unless_the_load_says_otherwise() -> None:
    seconds = [float(second) for second in range(300)]
    found = load_like(trace(seconds, [10] * 200 + [1000] * 100), Load(vectors=7))
    assert (found.answer_tokens, found.vectors) == (340, 7)
    assert load_like(trace(seconds), Load(answer_tokens=9)).answer_tokens == 9
    assert load_like(trace(seconds, [0] * 300)).answer_tokens == 1


@pytest.mark.parametrize("seconds", [[], [0.0], [0.0, 119.0]])
def test_a_trace_without_two_minutes_has_no_busiest_one(seconds: list[float]) -> None:
    with pytest.raises(InputError, match="two minutes"):
        load_like(trace(seconds))


def test_nothing_recorded_is_nothing_read() -> None:
    assert recorded_log("zipf") is None
    assert recorded_log("once") is None
    assert recorded_load("", Load()) == Load()
    with pytest.raises(InputError, match="no-such-log"):
        recorded_log("no-such-log")


@pytest.mark.parametrize(
    "fields",
    [{"peak_factor": 0.9}, {"peak_factor": float("nan")}, {"answer_tokens": 0}],
)
def test_a_load_out_of_range_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(fields))}="):
        Load(**fields)  # type: ignore[arg-type]
