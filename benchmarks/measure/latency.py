"""Latency of calls, one at a time, with intervals that assume nothing about their distribution.

The garbage collector is run before the clock starts and kept off while it runs, unless asked for:
its pauses belong to the program around the call, and fall on whichever candidate comes when a
threshold is passed.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError

__all__ = ["Latencies", "Paired", "interleave", "timed", "warm_up"]

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times of single calls, in the order they were made.

    Args:
        nanoseconds: (n,) int64, n at least 1.

    Raises:
        InputError: no times, or negative ones.
    """

    nanoseconds: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.nanoseconds.ndim != 1 or not self.nanoseconds.size or self.nanoseconds.min() < 0:
            raise InputError(
                f"latencies of shape {self.nanoseconds.shape}: expected at least one, none negative"
            )

    @property
    def count(self) -> int:
        """Number of calls."""
        return self.nanoseconds.size

    @property
    def p50_ms(self) -> float:
        """Median, as `quantile_ms` takes it."""
        return self.quantile_ms(0.5)

    @property
    def p99_ms(self) -> float:
        """99th percentile, as `quantile_ms` takes it; below 100 calls the slowest."""
        return self.quantile_ms(0.99)

    @property
    def mean_ms(self) -> float:
        """Mean of all calls."""
        return float(self.nanoseconds.mean()) / 1e6

    @property
    def qps(self) -> float:
        """Calls a second of one caller that waits for each: what lies between calls is not in."""
        return 1e9 * self.count / max(1, int(self.nanoseconds.sum()))

    def quantile_ms(self, share: float) -> float:
        """The smallest time within which this share of the calls was done; never interpolated.

        Raises:
            InputError: a share outside (0, 1].
        """
        if not 0 < share <= 1:
            raise InputError(f"share={share}: expected a quantile above 0 and at most 1")
        place = max(0, math.ceil(round(share * self.count, 9)) - 1)
        return float(np.partition(self.nanoseconds, place)[place]) / 1e6

    def interval_ms(self, share: float, confidence: float = 0.95) -> tuple[float, float] | None:
        """Interval for a quantile of the distribution that the calls are drawn from.

        Its ends are order statistics with binomial coverage, so that nothing is assumed but that
        calls are alike and independent (Conover, 1999, "Practical Nonparametric Statistics", 3.2).

        Returns:
            Both ends, or None where there are too few calls for an interval of that confidence:
            the 99th percentile needs 368 of them at 95 %, the median 6.

        Raises:
            InputError: share or confidence outside (0, 1).
        """
        if not 0 < share < 1 or not 0 < confidence < 1:
            raise InputError(f"share={share}, confidence={confidence}: expected both within (0, 1)")
        places = _interval_places(self.count, share, 1 - confidence)
        if places is None:
            return None
        ordered = np.partition(self.nanoseconds, places)
        return float(ordered[places[0]]) / 1e6, float(ordered[places[1]]) / 1e6


def _interval_places(count: int, share: float, miss: float) -> tuple[int, int] | None:
    """Places (from 0) of the order statistics that hold a quantile but for ``miss / 2`` each."""
    from scipy.stats import binom

    # The l-th smallest (from 1) lies above the quantile with P(Binomial(n, share) < l), the u-th
    # at or below it with P(Binomial(n, share) >= u).
    lower = int(binom.ppf(miss / 2, count, share))
    upper = int(binom.isf(miss / 2, count, share)) + 1
    return (lower - 1, upper - 1) if lower >= 1 and upper <= count else None


def timed(
    calls: Iterable[Call],
    *,
    keep: Callable[[int, Any], None] | None = None,
    collect_garbage: bool = False,
) -> Latencies:
    """Time calls one after the other.

    Args:
        calls: made one by one as the iterable yields them, outside the clock.
        keep: given the number of a call and its result, outside the clock.
        collect_garbage: leave the garbage collector on while the clock runs; see the module.

    Raises:
        InputError: no calls.
    """
    taken: list[int] = []
    with _garbage_collector(collect_garbage):
        for number, call in enumerate(calls):
            start = perf_counter_ns()
            result = call()
            taken.append(perf_counter_ns() - start)
            if keep is not None:
                keep(number, result)
    if not taken:
        raise InputError("no calls to time; expected at least one")
    return Latencies(np.array(taken, np.int64))


def warm_up(calls: Iterable[Call], rounds: int = 1) -> int:
    """Make calls without timing them; how many were made.

    Raises:
        InputError: fewer than 0 rounds.
    """
    if rounds < 0:
        raise InputError(f"rounds={rounds}: expected 0 or more")
    every = list(calls)
    for _ in range(rounds):
        for call in every:
            call()
    return rounds * len(every)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two calls, timed in turn.

    Args:
        a: times of the first.
        b: times of the second, round by round beside it.
    """

    a: Latencies
    b: Latencies

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(rounds,) time of ``a`` over time of ``b``, in each round."""
        return self.a.nanoseconds / np.maximum(1, self.b.nanoseconds)

    @property
    def ratio(self) -> float:
        """Median of the ratios; below 1 the first is faster."""
        return float(np.median(self.ratios))

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Of the median ratio, by order statistics; None where there are too few rounds.

        Raises:
            InputError: a confidence outside (0, 1).
        """
        if not 0 < confidence < 1:
            raise InputError(f"confidence={confidence}: expected it within (0, 1)")
        places = _interval_places(self.a.count, 0.5, 1 - confidence)
        ordered = np.sort(self.ratios)
        return None if places is None else (float(ordered[places[0]]), float(ordered[places[1]]))


def interleave(a: Call, b: Call, rounds: int, *, collect_garbage: bool = False) -> Paired:
    """Time two calls in turn, so that what slows the machine down meets both.

    Each goes first in every other round. One round of each comes before, untimed.

    Args:
        a: one round of the first.
        b: one round of the second.
        rounds: at least 1; 6 for an interval at 95 %.
        collect_garbage: leave the garbage collector on while the clock runs; see the module.

    Raises:
        InputError: fewer than 1 round.
    """
    if rounds < 1:
        raise InputError(f"rounds={rounds}: expected at least 1")
    warm_up((a, b))
    taken = np.zeros((rounds, 2), np.int64)
    with _garbage_collector(collect_garbage):
        for number in range(rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                start = perf_counter_ns()
                (a, b)[side]()
                taken[number, side] = perf_counter_ns() - start
    return Paired(Latencies(taken[:, 0].copy()), Latencies(taken[:, 1].copy()))


@contextlib.contextmanager
def _garbage_collector(on: bool) -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    if on:
        gc.enable()
    else:
        gc.disable()
    try:
        yield
    finally:
        (gc.enable if was_on else gc.disable)()
