"""Recorded traffic by name: the repetition of a query log, the peaks and answers of a trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ragopt.benchmarks.datasets.types import QueryLog, TraceSet
from ragopt.benchmarks.road.savings_report import Load
from ragopt.errors import InputError

__all__ = ["load_like", "peak_factor", "recorded_load", "recorded_log"]

_WINDOW_S = 60.0
"""Shorter bursts wait in a queue for less than that; vCPUs are bought for what lasts longer."""


def recorded_log(traffic: str) -> QueryLog | None:
    """The query log that a traffic names; None for ``"zipf"`` and ``"once"``, which are drawn.

    Raises:
        InputError: neither, nor name or path of a query log.
    """
    if traffic in ("zipf", "once"):
        return None
    from ragopt.benchmarks.datasets import load

    log = load(traffic)
    if not isinstance(log, QueryLog):
        raise InputError(
            f"traffic={traffic!r} is a {type(log).__name__}; expected 'zipf', 'once', or name or "
            "path of a query log"
        )
    return log


def recorded_load(arrivals: str, load: Load) -> Load:
    """A load with the peaks and answers of the trace of that name; as it is where none is named.

    Raises:
        InputError: not name or path of a trace, or one that `load_like` refuses.
    """
    if not arrivals:
        return load
    from ragopt.benchmarks import datasets

    trace = datasets.load(arrivals)
    if not isinstance(trace, TraceSet):
        raise InputError(
            f"arrivals={arrivals!r} is a {type(trace).__name__}; expected name or path of a trace"
        )
    return load_like(trace, load)


def load_like(trace: TraceSet, load: Load | None = None) -> Load:
    """A load whose peaks and answers are those of a trace.

    Answers count with their mean number of output tokens: a bill is a sum, and the median of so
    skewed a quantity is far below (Azure's chat traffic of 2023: 129 against 211). What the load
    says of answers itself stays.

    Args:
        trace: of two minutes or more. One hour of it says nothing of days and nights.
        load: to take the rest from.

    Raises:
        InputError: a trace too short to have a busiest minute.
    """
    load = load or Load()
    peak = peak_factor(trace)
    answers = load.answer_tokens or max(1, round(float(np.mean(trace.output_tokens))))
    return replace(load, peak_factor=peak, answer_tokens=answers)


def peak_factor(trace: TraceSet) -> float:
    """Requests in the busiest 60 seconds over those in a mean minute, at least 1.

    Raises:
        InputError: a trace of less than two minutes.
    """
    seconds = np.asarray(trace.seconds, dtype=np.float64)
    span = float(seconds[-1] - seconds[0]) if seconds.size else 0.0
    if span < 2 * _WINDOW_S:
        raise InputError(
            f"{trace.name}: {seconds.size} requests in {span:.0f} s; expected two minutes or more, "
            "to tell the busiest minute from the mean"
        )
    ends = np.searchsorted(seconds, seconds + _WINDOW_S, side="left")
    busiest = int((ends - np.arange(seconds.size)).max())
    return max(1.0, busiest / (seconds.size / span * _WINDOW_S))
