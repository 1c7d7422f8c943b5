"""Policies that cheat or break: the bench notices, and the others are measured all the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cache_bench_made import (
    SMALL,
    Boastful,
    Foreign,
    Inventive,
    KeepsTheFirst,
    Obliging,
    Plain,
    Tumbling,
    Unforgetting,
    candidate,
)

from ragopt.benchmarks.cache import bench_cache, recheck
from ragopt.benchmarks.cache.figures import pack, unpack
from ragopt.benchmarks.cache.honesty import Refused, Tokens
from ragopt.benchmarks.datasets.types import PairSet
from ragopt.benchmarks.rows import BenchResult, Row


def _run(pairs: PairSet, *policies: type[Plain], **changes: object) -> BenchResult:
    candidates = [candidate(policy, policy.__name__.lower()) for policy in policies]
    options = dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    return bench_cache(pairs, options=options, candidates=candidates)


def _row(result: BenchResult, name: str) -> Row:
    return next(row for row in result.rows if row.name == name)


@pytest.mark.parametrize("policy", [Unforgetting, Inventive])
def test_an_answer_that_was_not_just_stored_refuses_the_policy(
    pairs: PairSet, policy: type[Plain]
) -> None:
    result = _run(pairs, policy, Plain)
    mine = [row for row in result.rows if f"/{policy.__name__.lower()}" in row.name]
    assert [row.name for row in mine] == [f"cache/{policy.__name__.lower()}"]
    assert "stale" in mine[0].reason
    assert result.value("cache/plain/wrong_per_hit") is not None


def test_an_answer_from_before_the_stream_is_refused_there_too(pairs: PairSet) -> None:
    result = _run(pairs, Unforgetting, protocols=("stream",))
    assert "stale" in _row(result, "cache/unforgetting").reason


def test_an_answer_to_a_request_of_another_run_is_refused() -> None:
    tokens, others = Tokens(), Tokens()
    assert tokens.place(tokens.new("q", 0), {0: "q"}) == 0
    with pytest.raises(Refused, match="stale or invented"):
        tokens.place(others.new("q", 0), {0: "q"})


def test_an_answer_that_was_replaced_during_the_run_is_refused() -> None:
    tokens = Tokens()
    old = tokens.new("q", 0)
    tokens.new("q", 5)
    with pytest.raises(Refused, match="was replaced"):
        tokens.place(old, {0: "q", 5: "q"})


def test_a_replaced_answer_that_goes_on_being_served_is_told(pairs: PairSet) -> None:
    result = _run(pairs, KeepsTheFirst, Plain)
    told = {
        name: _row(result, f"cache/{name}/wrong_per_hit").extra["after_update"]
        for name in ("keepsthefirst", "plain")
    }
    assert told == {"keepsthefirst": "the replaced answer", "plain": "the new answer"}


def test_a_similarity_that_does_not_decide_refuses_the_policy(pairs: PairSet) -> None:
    reason = _row(_run(pairs, Boastful), "cache/boastful").reason
    assert "its similarity does not decide" in reason


def test_who_serves_everything_reaches_no_precision(pairs: PairSet) -> None:
    result = _run(pairs, Obliging)
    assert "never reached" in _row(result, "cache/obliging/hit_rate_at_precision_90").reason
    assert result.value("cache/obliging/wrong_per_hit") == pytest.approx(0.5, abs=0.02)
    served = _row(result, "cache/obliging/wrong_per_hit").extra
    assert served["hits"] == served["n"]


def test_the_answer_to_another_question_is_wrong_however_similar_it_is_said_to_be(
    pairs: PairSet,
) -> None:
    result = _run(pairs, Foreign, Plain, protocols=("stream",))
    wrong = result.value("cache/foreign/stream/wrong_per_hit")
    assert wrong is not None
    assert wrong > 0.8
    assert result.value("cache/plain/stream/wrong_per_hit") < 0.5  # type: ignore[operator]


def test_a_policy_that_breaks_has_its_reason_and_ends_nobody_else(pairs: PairSet) -> None:
    result = _run(pairs, Tumbling, Plain)
    assert result.value("cache/tumbling/wrong_per_hit") is not None  # pairs store one at a time
    assert "the disk is on fire" in _row(result, "cache/tumbling/stream/hit_rate").reason
    assert result.value("cache/plain/stream/hit_rate") is not None


def test_the_rows_follow_from_the_logged_decisions(pairs: PairSet) -> None:
    result = _run(pairs, Plain, Obliging)
    assert len(result.rows) == 16
    assert recheck(result) == []
    assert recheck(BenchResult.from_dict(result.to_dict())) == []


def test_a_row_that_does_not_follow_is_found(pairs: PairSet) -> None:
    result = _run(pairs, Plain)
    for place, row in enumerate(result.rows):
        better = dataclasses.replace(row, value=(row.value or 0) + 0.01, extra={})
        rows = (*result.rows[:place], better, *result.rows[place + 1 :])
        (problem,) = recheck(dataclasses.replace(result, rows=rows))
        assert problem.startswith(f"{row.name}: the row says")


def test_a_changed_log_is_found(pairs: PairSet) -> None:
    result = _run(pairs, Plain)
    log = result.details["decisions"]["policies"]["plain"]
    scores = unpack(log["scores"])
    log["scores"] = pack(np.where(scores > 940_000, -1, scores))
    problems = recheck(result)
    assert problems
    assert all("the logged decisions give" in each for each in problems)


def test_a_log_that_fits_other_pairs_is_refused(pairs: PairSet) -> None:
    result = _run(pairs, Plain)
    result.details["decisions"]["policies"]["plain"]["scores"] = pack(np.zeros(3, np.int32))
    assert "does not fit the pairs" in recheck(result)[0]


def test_only_results_of_this_bench_are_counted_again() -> None:
    other = BenchResult(bench="index", rows=(), about={})
    assert "'index'" in recheck(other)[0]
