"""The protocol of a stream: requests in order of arrival into an empty cache.

One rule of insertion for every policy: each request that is not served has its answer stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.cache.figures import Counted
from ragopt.benchmarks.cache.honesty import Tokens
from ragopt.benchmarks.cache.policies import Policy
from ragopt.benchmarks.cache.vectors import VectorTable
from ragopt.cache import normalise

__all__ = [
    "ASKED",
    "MISS",
    "Stream",
    "StreamCounted",
    "counted",
    "judge_of",
    "repeats",
    "run_stream",
    "words_of",
]

MISS = -1
ASKED = -2
"""A miss that was made so that a fresh answer could be compared with a stored one."""
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


@dataclass(frozen=True, slots=True)
class StreamCounted(Counted):
    """What a policy did with a stream.

    Args:
        asked: requests that were not served, to compare a fresh answer with the stored one.
        same_text: of the hits, those in the very words (normalised) of the request served from.
    """

    asked: int = 0
    same_text: int = 0

    @property
    def asked_per_request(self) -> float:
        """Share of requests that went into learning."""
        return self.asked / self.n if self.n else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts, figures and their intervals; hits by tier."""
        return {
            **Counted.to_dict(self),
            "asked": self.asked,
            "by_tier": {"same_text": self.same_text, "other_words": self.hits - self.same_text},
        }


def run_stream(
    policy: Policy,
    stream: Stream,
    progress: Callable[[int], None],
    tokens: Tokens | None = None,
) -> NDArray[np.int32]:
    """Which earlier request each one was answered from; `MISS` or `ASKED` where it was stored.

    Args:
        policy: that is emptied first.
        stream: requests.
        progress: told how many are done.
        tokens: that answers are made of, where the policy's judge has to read them.

    Raises:
        Refused: an answer came back that this run did not store, or had replaced.
    """
    policy.clear()
    tokens = tokens or Tokens()
    texts = dict(enumerate(stream.texts))
    log = np.full(len(texts), MISS, dtype=np.int32)
    for number, text in texts.items():
        compared = _compared(policy)
        served = policy.get(text)
        if served is None:
            log[number] = ASKED if _compared(policy) > compared else MISS
            policy.put(text, tokens.new(text, number))
        else:
            log[number] = tokens.place(served.answer, texts)
        if number % 64 == 0:
            progress(number)
    return log


def _compared(policy: Policy) -> int:
    """Misses so far that a policy made in order to learn; most make none."""
    return int(getattr(policy, "compared", 0))


def judge_of(stream: Stream, tokens: Tokens) -> Callable[[str, str, str], bool] | None:
    """The truth as a judge: two answers are as good where their requests are of one group.

    Returns:
        A function of question, cached and fresh answer; None for a stream without truth.
    """
    groups = stream.groups
    if groups is None:
        return None

    def judge(_question: str, cached: str, fresh: str) -> bool:
        return bool(groups[tokens.stored_for(cached)] == groups[tokens.stored_for(fresh)])

    return judge


def counted(
    log: NDArray[np.int32],
    groups: NDArray[np.int32] | None,
    words: NDArray[np.int32] | None = None,
) -> StreamCounted:
    """Hits, wrong hits and what was asked to learn.

    Args:
        log: (n,) as `run_stream` gives it.
        groups: of the requests; without them nothing is known to be wrong.
        words: (n,) as `words_of` gives them; without them no hit counts as the same text.
    """
    hit = np.flatnonzero(log >= 0)
    return StreamCounted(
        n=len(log),
        hits=len(hit),
        wrong=0 if groups is None else int((groups[hit] != groups[log[hit]]).sum()),
        asked=int((log == ASKED).sum()),
        same_text=0 if words is None else int((words[hit] == words[log[hit]]).sum()),
    )


def words_of(texts: Sequence[str]) -> NDArray[np.int32]:
    """(n,) numbers, the same for texts that are the same to the exact tier."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(normalise(text), len(numbers)) for text in texts]
    return np.array(found, dtype=np.int32)


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
