"""Hits, wrong hits and precision out of logged decisions, with exact binomial intervals.

A score is the similarity at which a policy serves a pair, in millionths; `NOT_SERVED` where it
does not at any threshold. Figures are computed from these whole numbers only, so that they come
out the same when computed again from the log.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragopt.errors import InputError
from ragopt.quality import binomial_lower, binomial_upper

__all__ = [
    "MILLION",
    "NOT_SERVED",
    "Counted",
    "count",
    "enough_hits",
    "interval",
    "lowest_threshold",
    "millionths",
    "pack",
    "pack_rising",
    "unpack",
    "unpack_rising",
]

MILLION = 1_000_000
NOT_SERVED = -1
_TAIL = 0.025  # of a two-sided interval of 95 %


def millionths(similarity: float) -> int:
    """A similarity as a whole number, at least 0."""
    return min(MILLION, max(0, round(similarity * MILLION)))


def interval(part: int, whole: int) -> tuple[float, float]:
    """Two-sided 95 % interval on a proportion (Clopper and Pearson, 1934)."""
    return binomial_lower(part, whole, 1 - _TAIL), binomial_upper(part, whole, 1 - _TAIL)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a policy did at one setting.

    Args:
        n: requests.
        hits: of these, served.
        wrong: of the served, with an answer to another question.
    """

    n: int
    hits: int
    wrong: int

    @property
    def hit_rate(self) -> float:
        """Share of requests that were served."""
        return self.hits / self.n if self.n else 0.0

    @property
    def precision(self) -> float | None:
        """Right ones among the hits; None without a hit."""
        return (self.hits - self.wrong) / self.hits if self.hits else None

    @property
    def wrong_per_hit(self) -> float | None:
        """Share of hits that were wrong; None without a hit."""
        return self.wrong / self.hits if self.hits else None

    @property
    def wrong_per_request(self) -> float:
        """Share of requests that were served wrongly."""
        return self.wrong / self.n if self.n else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts, figures and their intervals."""
        lower, upper = interval(self.wrong, self.hits)
        return {
            "n": self.n,
            "hits": self.hits,
            "wrong": self.wrong,
            "hit_rate": self.hit_rate,
            "hit_rate_range": list(interval(self.hits, self.n)),
            "precision": self.precision,
            "precision_range": [1 - upper, 1 - lower],
            "wrong_per_hit": self.wrong_per_hit,
            "wrong_per_hit_range": [lower, upper],
            "wrong_per_request": self.wrong_per_request,
            "wrong_per_request_range": list(interval(self.wrong, self.n)),
        }


def count(scores: NDArray[np.int32], same: NDArray[np.bool_], threshold: int) -> Counted:
    """Hits and wrong hits of the pairs (n,) at a threshold in millionths."""
    served = (scores >= threshold) & (scores != NOT_SERVED)
    return Counted(len(scores), int(served.sum()), int((served & ~same).sum()))


def enough_hits(precision: float) -> int:
    """Fewest hits that could show a precision: even all right, fewer would not (95 %)."""
    return math.ceil(math.log(0.05) / math.log(precision))


def lowest_threshold(
    scores: NDArray[np.int32], same: NDArray[np.bool_], precision: float
) -> int | None:
    """The lowest threshold (millionths) with at least this precision; None where there is none.

    Thresholds with fewer hits than `enough_hits` do not count: the single most similar pair is
    right on nearly any data.
    """
    served = scores != NOT_SERVED
    order = np.argsort(-scores[served], kind="stable")
    ranked, right = scores[served][order], same[served][order]
    hits = np.arange(1, len(ranked) + 1)
    last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    # whole numbers: 9 of 10 is .9, whatever the rounding of .9
    good = np.cumsum(right) >= np.ceil(hits * precision - 1e-9)
    fine = np.flatnonzero(last & good & (hits >= enough_hits(precision)))
    return int(ranked[fine[-1]]) if fine.size else None


def pack(values: NDArray[Any]) -> str:
    """Whole numbers (int32) as text, for a log of decisions in JSON."""
    raw = np.ascontiguousarray(values, dtype="<i4").tobytes()
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def pack_rising(values: NDArray[Any]) -> str:
    """`pack` for numbers that rise, as steps from each to the next, which take less room."""
    return pack(np.diff(values, prepend=0))


def unpack_rising(text: str) -> NDArray[np.int32]:
    """What `pack_rising` made.

    Raises:
        InputError: it is not that.
    """
    return np.cumsum(unpack(text), dtype=np.int32)


def unpack(text: str) -> NDArray[np.int32]:
    """What `pack` made.

    Raises:
        InputError: it is not that.
    """
    try:
        raw = zlib.decompress(base64.b64decode(text, validate=True))
        return np.frombuffer(raw, dtype="<i4").astype(np.int32)
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise InputError(f"the log of decisions cannot be read ({error})") from error
