"""Latency: quantiles that were observed, intervals that cover, a collector left as it was."""

from __future__ import annotations

import gc
import math
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.measure import Latencies, Paired, interleave, timed, warm_up
from ragopt.errors import InputError

MS = 1_000_000


def _of(*milliseconds: float) -> Latencies:
    return Latencies(np.array([int(value * MS) for value in milliseconds], np.int64))


@given(
    values=st.lists(st.integers(0, 10**9), min_size=1, max_size=60),
    share=st.floats(0.001, 1.0),
)
def test_a_quantile_is_the_smallest_value_that_enough_calls_kept(
    values: list[int], share: float
) -> None:
    found = round(Latencies(np.array(values, np.int64)).quantile_ms(share) * MS)
    assert found in values
    needed = share * len(values) - 1e-6
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed + 2e-6


def test_known_figures() -> None:
    hundred = _of(*range(1, 101))
    assert (hundred.p50_ms, hundred.p99_ms, hundred.mean_ms) == (50, 99, 50.5)
    assert hundred.qps == pytest.approx(100 / 5.05)
    assert (hundred.count, _of(1, 2, 7).p99_ms) == (100, 7)


@pytest.mark.parametrize(("share", "count"), [(0.5, 200), (0.99, 800)])
def test_intervals_cover_the_quantile_as_often_as_they_say(share: float, count: int) -> None:
    rng = np.random.default_rng(7)
    true = -math.log(1 - share)
    covered = 0
    for _ in range(400):
        drawn = Latencies((rng.exponential(size=count) * MS).astype(np.int64))
        interval = drawn.interval_ms(share, 0.9)
        assert interval is not None
        covered += interval[0] <= true <= interval[1]
    assert 0.87 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("share", "needed"), [(0.5, 6), (0.99, 368)])
def test_too_few_calls_have_no_interval(share: float, needed: int) -> None:
    assert _of(*range(needed - 1)).interval_ms(share) is None
    enough = _of(*range(needed)).interval_ms(share)
    assert enough is not None
    assert enough[1] == needed - 1


def test_calls_are_made_in_order_and_their_results_kept() -> None:
    kept: dict[int, int] = {}
    found = timed([partial(pow, number, 2) for number in range(5)], keep=kept.__setitem__)
    assert found.count == 5
    assert kept == {0: 0, 1: 1, 2: 4, 3: 9, 4: 16}


def test_what_lies_between_calls_is_not_timed() -> None:
    def slow_source() -> object:
        for _ in range(3):
            time.sleep(0.02)
            yield int

    found = timed(slow_source(), keep=lambda _number, _result: time.sleep(0.02))  # type: ignore[arg-type]
    assert found.p50_ms < 20


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("collect", [True, False])
def test_the_collector_is_as_asked_while_timing_and_as_before_after(
    enabled: bool, collect: bool
) -> None:
    seen = []
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        timed([lambda: seen.append(gc.isenabled())], collect_garbage=collect)
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError):
            timed([lambda: 1 / 0], collect_garbage=collect)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert seen == [collect]


def test_two_calls_go_first_in_turn() -> None:
    order: list[str] = []
    paired = interleave(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert paired.a.count == paired.b.count == 3


def test_the_ratio_is_of_pairs() -> None:
    paired = Paired(_of(1, 20, 300, 1, 1, 1, 1), _of(2, 10, 600, 2, 2, 2, 2))
    assert paired.ratio == 0.5
    assert paired.interval() == (0.5, 2.0)
    assert Paired(_of(1), _of(2)).interval() is None


def test_a_call_that_does_ten_times_as_much_has_a_larger_ratio() -> None:
    paired = interleave(lambda: sum(range(200_000)), lambda: sum(range(2_000)), 15)
    assert paired.ratio > 5


def test_warm_up_makes_every_call_in_every_round() -> None:
    made: list[int] = []
    assert warm_up([partial(made.append, number) for number in range(3)], rounds=2) == 6
    assert made == [0, 1, 2, 0, 1, 2]
    assert warm_up([int], rounds=0) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="no calls"):
        timed([])
    with pytest.raises(InputError, match="at least one"):
        Latencies(np.array([], np.int64))
    with pytest.raises(InputError, match="negative"):
        Latencies(np.array([-1], np.int64))
    for share in (0, 1.01, math.nan):
        with pytest.raises(InputError, match="quantile"):
            _of(1).quantile_ms(share)
    with pytest.raises(InputError, match="within"):
        _of(1).interval_ms(1.0)
    with pytest.raises(InputError, match="confidence"):
        Paired(_of(1), _of(1)).interval(0)
    with pytest.raises(InputError, match="rounds"):
        interleave(int, int, 0)
    with pytest.raises(InputError, match="rounds"):
        warm_up([], rounds=-1)
