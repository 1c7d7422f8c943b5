"""When requests come: drawn, or as they came in recorded traffic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.benchmarks.datasets.types import TraceSet
from ragopt.errors import InputError

__all__ = [
    "BlockReuse",
    "Concurrency",
    "block_reuse",
    "concurrency",
    "poisson",
    "rescale",
    "window",
]


def poisson(count: int, rate: float, seed: int = 0) -> NDArray[np.float64]:
    """Arrivals that know nothing of each other.

    Args:
        count: of requests, at least 0.
        rate: mean requests a second, above 0.
        seed: of the draw.

    Returns:
        (count,) seconds since the first arrival, ascending.

    Raises:
        InputError: figures out of range.
    """
    if count < 0 or not 0 < rate < math.inf:
        raise InputError(f"count={count}, rate={rate}: expected count >= 0 and a finite rate > 0")
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=count)
    gaps[:1] = 0
    return np.cumsum(gaps)


def window(trace: TraceSet, start_s: float = 0.0, duration_s: float = math.inf) -> TraceSet:
    """The requests of a stretch of time, the first of them at 0 seconds.

    Args:
        trace: recorded traffic.
        start_s: where the stretch begins, seconds since the trace's first request.
        duration_s: its length; the end is not part of it.

    Raises:
        InputError: figures out of range, or no request in that stretch.
    """
    if not 0 <= start_s < math.inf or not duration_s > 0:
        raise InputError(
            f"start_s={start_s}, duration_s={duration_s}: expected a start of 0 or later and a "
            "duration above 0"
        )
    inside = (trace.seconds >= start_s) & (trace.seconds < start_s + duration_s)
    places = np.flatnonzero(inside)
    if not len(places):
        raise InputError(
            f"{trace.name}: no request from {start_s} s on for {duration_s} s; the trace has "
            f"{len(trace.seconds)} requests in {_span(trace):.1f} s"
        )
    first, end = int(places[0]), int(places[-1]) + 1
    return replace(
        trace,
        seconds=trace.seconds[first:end] - trace.seconds[first],
        input_tokens=trace.input_tokens[first:end],
        output_tokens=trace.output_tokens[first:end],
        blocks=trace.blocks[first:end],
    )


def rescale(trace: TraceSet, rate: float) -> TraceSet:
    """The same requests, faster or slower, so that their mean rate is another; bursts stay bursts.

    Args:
        trace: recorded traffic of at least two requests that do not all come at once.
        rate: mean requests a second, above 0.

    Raises:
        InputError: a rate out of range, or a trace without a rate.
    """
    span = _span(trace)
    if not 0 < rate < math.inf or span <= 0:
        raise InputError(
            f"{trace.name}: rate={rate}, {len(trace.seconds)} requests in {span} s; expected a "
            "finite rate above 0 and at least two requests apart in time"
        )
    factor = (len(trace.seconds) - 1) / span / rate
    return replace(trace, seconds=(trace.seconds - trace.seconds[0]) * factor)


def _span(trace: TraceSet) -> float:
    return float(trace.seconds[-1] - trace.seconds[0]) if len(trace.seconds) else 0.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Requests under way at a time.

    Args:
        mean: over time, from the first arrival to the last end.
        p99: not passed during 99 % of that time.
        peak: the most at any moment.
    """

    mean: float
    p99: int
    peak: int


def concurrency(seconds: ArrayLike, durations: ArrayLike) -> Concurrency:
    """How many requests are under way when each takes its time and none waits.

    Args:
        seconds: (n,) arrivals, in any order; at least one.
        durations: (n,) seconds that each takes, or one for all; 0 or more.

    Raises:
        InputError: no arrivals, shapes that do not fit, values that are negative or not finite.
    """
    begin = np.asarray(seconds, np.float64)
    try:
        took = np.broadcast_to(np.asarray(durations, np.float64), begin.shape)
    except ValueError as error:
        raise InputError(f"durations do not fit {begin.shape} arrivals: {error}") from error
    if begin.ndim != 1 or not begin.size or not np.isfinite(begin).all():
        raise InputError(f"arrivals of shape {begin.shape}: expected (n,) finite seconds, n >= 1")
    if not np.isfinite(took).all() or took.min() < 0:
        raise InputError("durations: expected finite seconds, none negative")
    moments = np.concatenate([begin, begin + took])
    change = np.repeat([1, -1], len(begin))
    # What ends at a moment has ended before what begins at it; but what takes no time began first.
    order = np.lexsort((change, moments)) if took.all() else np.lexsort((-change, moments))
    level = np.cumsum(change[order])
    stretches = np.diff(moments[order], append=moments[order][-1])
    whole = stretches.sum()
    if whole <= 0:
        return Concurrency(0.0, 0, int(level.max()))
    by_level = np.bincount(level, weights=stretches)
    p99 = int(np.searchsorted(np.cumsum(by_level) / whole, 0.99 - 1e-12))
    return Concurrency(float((level * stretches).sum() / whole), p99, int(level.max()))


@dataclass(frozen=True, slots=True)
class BlockReuse:
    """Prefix blocks of prompts that an earlier request had too: the most a prefix cache can save.

    Args:
        blocks: of all requests together.
        seen_before: of those, in an earlier request.
        requests: with at least one such block.
    """

    blocks: int
    seen_before: int
    requests: int

    @property
    def ratio(self) -> float:
        """Share of blocks seen before."""
        return self.seen_before / max(1, self.blocks)


def block_reuse(trace: TraceSet) -> BlockReuse:
    """Reuse with a cache that forgets nothing.

    Raises:
        InputError: the trace has no blocks.
    """
    if not trace.blocks:
        raise InputError(f"{trace.name}: no prefix blocks were recorded in this trace")
    seen: set[int] = set()
    blocks = again = requests = 0
    for own in trace.blocks:
        known = sum(block in seen for block in own)
        blocks, again, requests = blocks + len(own), again + known, requests + (known > 0)
        seen.update(own)
    return BlockReuse(blocks, again, requests)
