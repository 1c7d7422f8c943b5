"""The protocol of a stream: requests in order of arrival into an empty cache, stored on a miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.figures import Counted
from ragopt.benchmarks.cache.honesty import Tokens
from ragopt.benchmarks.cache.policies import Policy
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.cache import normalise

__all__ = ["MISS", "Stream", "counted", "repeats", "run_stream"]

MISS = -1
_ROWS = 1024  # compared at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Requests as they arrive.

    Args:
        texts: in order.
        groups: (n,) requests of one group have one answer; None where nobody knows (a log).
        about: where it comes from, and what its truth rests on.
    """

    texts: tuple[str, ...]
    groups: NDArray[np.int32] | None
    about: str


def run_stream(
    policy: Policy, stream: Stream, progress: Callable[[int], None]
) -> NDArray[np.int32]:
    """Which earlier request each one was answered from; `MISS` where it was stored instead.

    Raises:
        Refused: an answer came back that this run did not store, or had replaced.
    """
    policy.clear()
    tokens = Tokens()
    texts = dict(enumerate(stream.texts))
    log = np.full(len(texts), MISS, dtype=np.int32)
    for number, text in texts.items():
        served = policy.get(text)
        if served is None:
            policy.put(text, tokens.new(text, number))
        else:
            log[number] = tokens.place(served.answer, texts)
        if number % 64 == 0:
            progress(number)
    return log


def counted(log: NDArray[np.int32], groups: NDArray[np.int32] | None) -> Counted:
    """Hits and wrong hits; without groups nothing is known to be wrong."""
    hit = np.flatnonzero(log != MISS)
    wrong = 0 if groups is None else int((groups[hit] != groups[log[hit]]).sum())
    return Counted(len(log), len(hit), wrong)


def repeats(stream: Stream, table: VectorTable, thresholds: tuple[float, ...]) -> dict[str, float]:
    """Shares of requests that repeat an earlier one: its text, or nearly (by cosine).

    ``exact`` compares normalised texts. ``near_<threshold>`` counts a request with any earlier
    one at least so similar, the exact ones included, whatever a cache would have stored.
    """
    seen: set[str] = set()
    again = np.zeros(len(stream.texts), dtype=bool)
    for number, text in enumerate(stream.texts):
        plain = normalise(text)
        again[number] = plain in seen
        seen.add(plain)
    best = _nearest_before(np.stack([table.row(text) for text in stream.texts]))
    shares = {
        f"near_{threshold:g}": float((again | (best >= threshold)).mean())
        for threshold in thresholds
    }
    return {"exact": float(again.mean()), **shares}


def _nearest_before(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest cosine of each row with a row before it; -1 for the first."""
    best = np.full(len(rows), -1, dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        for other in range(0, start + len(block), _ROWS):
            cosines = block @ rows[other : other + _ROWS].T
            if other == start:
                cosines[np.triu_indices(len(block))] = -1  # itself and what came later
            best[start : start + len(block)] = np.maximum(
                best[start : start + len(block)], cosines.max(axis=1)
            )
    return best
