"""Arrivals: drawn, cut, rescaled; how many requests are under way; which blocks come again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from ragopt.benchmarks.datasets.types import TraceSet
from ragopt.benchmarks.workloads import block_reuse, concurrency, poisson, rescale, window
from ragopt.errors import InputError


def _trace(*seconds: float, blocks: tuple[tuple[int, ...], ...] = ()) -> TraceSet:
    count = len(seconds)
    return TraceSet(
        name="t",
        seconds=np.array(seconds, float),
        input_tokens=np.arange(count),
        output_tokens=np.arange(count) * 2,
        blocks=blocks,
    )


def test_poisson_arrivals_have_their_rate_and_forget_the_past() -> None:
    seconds = poisson(5_000, 4.0, seed=2)
    gaps = np.diff(seconds)
    assert seconds[0] == 0
    assert (gaps >= 0).all()
    assert kstest(gaps, "expon", args=(0, 1 / 4.0)).pvalue > 1e-3
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.05
    assert (seconds == poisson(5_000, 4.0, seed=2)).all()
    assert poisson(0, 1.0).shape == (0,)


def test_a_window_begins_at_zero_and_takes_its_tokens_along() -> None:
    trace = _trace(0, 1, 2.5, 3, 9, blocks=((1,), (2,), (3,), (4,), (5,)))
    part = window(trace, 1, 2)
    assert part.seconds.tolist() == [0, 1.5]
    assert part.input_tokens.tolist() == [1, 2]
    assert part.output_tokens.tolist() == [2, 4]
    assert part.blocks == ((2,), (3,))
    assert len(window(trace).seconds) == 5
    assert window(_trace(0, 1), 1).blocks == ()


@given(gaps=st.lists(st.floats(0.001, 100), min_size=1, max_size=20), rate=st.floats(0.01, 1_000))
def test_a_rescaled_trace_has_the_rate_and_the_same_bursts(gaps: list[float], rate: float) -> None:
    seconds = np.concatenate([[0.0], np.cumsum(gaps)])
    scaled = rescale(_trace(*seconds), rate).seconds
    assert len(gaps) / scaled[-1] == pytest.approx(rate)
    assert np.diff(scaled) / scaled[-1] == pytest.approx(np.diff(seconds) / seconds[-1])


def test_requests_under_way_by_hand() -> None:
    found = concurrency([0, 1, 5], [2, 3, 1])
    assert found.peak == 2
    assert found.mean == pytest.approx((2 + 3 + 1) / 6)
    assert found.p99 == 2
    assert concurrency([0, 1, 2], 1).peak == 1  # one ends as the next begins
    assert concurrency([3, 3, 3], 0).peak == 3
    mostly_one = concurrency([0, 10], [1_000, 1])
    assert (mostly_one.p99, mostly_one.peak) == (1, 2)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), min_size=1, max_size=30))
def test_requests_under_way_are_those_of_a_count_second_by_second(
    requests: list[tuple[int, int]],
) -> None:
    begins, took = np.array(requests).T
    first, last = begins.min(), (begins + took).max()
    levels = [int(((begins <= s) & (s < begins + took)).sum()) for s in range(first, last)]
    found = concurrency(begins, took)
    assert found.peak == max(levels)
    assert found.mean == pytest.approx(np.mean(levels))
    assert np.mean(np.array(levels) <= found.p99) >= 0.99 - 1e-9
    assert found.p99 == 0 or np.mean(np.array(levels) <= found.p99 - 1) < 0.99 + 1e-9


def test_blocks_that_come_again() -> None:
    trace = _trace(0, 1, 2, blocks=((1, 2, 3), (1, 2, 4), (5,)))
    found = block_reuse(trace)
    assert (found.blocks, found.seen_before, found.requests) == (7, 2, 1)
    assert found.ratio == pytest.approx(2 / 7)


def test_a_block_twice_in_one_request_was_not_seen_before() -> None:
    assert block_reuse(_trace(0, blocks=((1, 1),))).seen_before == 0


def test_bad_input_is_refused() -> None:
    for count, rate in ((-1, 1.0), (1, 0.0), (1, math.inf)):
        with pytest.raises(InputError, match="finite rate"):
            poisson(count, rate)
    with pytest.raises(InputError, match="no request from 7"):
        window(_trace(0, 1), 7)
    for start, duration in ((-1, 1), (0, 0), (math.nan, 1), (0, math.nan)):
        with pytest.raises(InputError, match="duration above 0"):
            window(_trace(0, 1), start, duration)
    for trace, rate in (
        (_trace(0, 1), 0.0),
        (_trace(1, 1), 1.0),
        (_trace(0), 1.0),
        (_trace(), 1.0),
    ):
        with pytest.raises(InputError, match="apart in time"):
            rescale(trace, rate)
    for begins, took in (([], 1), ([math.nan], 1), ([[0, 1]], 1)):
        with pytest.raises(InputError, match="arrivals"):
            concurrency(begins, took)
    with pytest.raises(InputError, match="do not fit"):
        concurrency([0, 1], [1, 2, 3])
    for took in (-1, math.inf):
        with pytest.raises(InputError, match="none negative"):
            concurrency([0], took)
    with pytest.raises(InputError, match="no prefix blocks"):
        block_reuse(_trace(0, 1))


@pytest.mark.data
def test_the_recorded_traffic_reuses_36_6_percent_of_its_blocks(
    real: Callable[[str], Any],
) -> None:
    trace: TraceSet = real("mooncake_conversation")
    found = block_reuse(trace)
    assert len(trace.seconds) == 12_031
    assert round(found.ratio, 3) == 0.366
    assert block_reuse(window(trace, 0, 600)).ratio < found.ratio


@pytest.mark.data
def test_recorded_traffic_is_burstier_than_drawn_traffic_of_its_rate(
    real: Callable[[str], Any],
) -> None:
    trace: TraceSet = rescale(real("azure2023_conv"), 5.0)
    drawn = poisson(len(trace.seconds), 5.0)
    assert trace.seconds[-1] == pytest.approx(drawn[-1], rel=0.05)
    per_minute = [np.bincount((seconds // 60).astype(int)) for seconds in (trace.seconds, drawn)]
    recorded, poissonian = (counts[:-1].var() / counts[:-1].mean() for counts in per_minute)
    assert recorded > 2 * poissonian
