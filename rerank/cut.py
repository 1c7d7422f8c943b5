"""Where to cut the ranked chunks: what goes into the prompt is paid for with every question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ragopt.chunk import Hit
from ragopt.errors import InputError

__all__ = ["Cut", "FixedK", "LargestGap", "ScoreRatio"]

_LARGEST_SCORE = 1e300


@runtime_checkable
class Cut(Protocol):
    """Decides how many of the ranked hits to keep."""

    def keep(self, hits: Sequence[Hit]) -> int:
        """How many of the hits, which come best first, go on."""
        ...


@dataclass(frozen=True, slots=True)
class FixedK:
    """The best k, whatever their scores.

    Args:
        k: at least 1.
    """

    k: int

    def __post_init__(self) -> None:
        _check_count("k", self.k)

    def keep(self, hits: Sequence[Hit]) -> int:
        """k, or all where there are fewer."""
        return min(self.k, len(hits))

    def __str__(self) -> str:
        return f"top {self.k}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestGap:
    """Cut where the score falls most, between ``k_min`` and ``k_max``.

    Taguchi, Maekawa and Bhutani (2025), "Efficient Context Selection for Long-Context QA: No
    Tuning, No Iteration, Just Adaptive-k" (arXiv 2506.08479). No guarantee by itself: some 70 %
    of relevant passages were kept there, so it is tuned against a floor here.

    Args:
        k_min: keep at least so many.
        k_max: and at most so many.
        buffer: further chunks kept after the gap, within ``k_max``.
    """

    k_min: int = 1
    k_max: int = 10
    buffer: int = 0

    def __post_init__(self) -> None:
        _check_count("k_min", self.k_min)
        _check_count("k_max", self.k_max)
        if type(self.buffer) is not int or self.k_max < self.k_min or self.buffer < 0:
            raise InputError(
                f"LargestGap(k_min={self.k_min}, k_max={self.k_max}, buffer={self.buffer}): "
                "expected 1 <= k_min <= k_max and buffer >= 0"
            )

    def keep(self, hits: Sequence[Hit]) -> int:
        """Number of hits before the largest fall in score; the first of equal ones."""
        if len(hits) <= self.k_min:
            return len(hits)
        # The fall after hit number k lies between scores k and k + 1.
        last = min(self.k_max, len(hits) - 1)
        scores = np.array([hit.score for hit in hits[self.k_min - 1 : last + 1]])
        # A fall from one infinite score to the next is none.
        scores = np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
        gap = self.k_min + int(np.argmax(-np.diff(scores)))
        return min(gap + self.buffer, self.k_max, len(hits))

    def __str__(self) -> str:
        return f"largest gap from {self.k_min} to {self.k_max}, buffer {self.buffer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRatio:
    """Keep what scores at least a share of the best, between ``k_min`` and ``k_max``.

    An easy question has one chunk far ahead, a hard one many alike: the share follows, a fixed k
    does not.

    Meant for scores of at least 0, as BM25's and its sums with cosines are. Where the best score
    is not positive no share means anything, and ``k_max`` are kept.

    Args:
        ratio: share of the best score, above 0, at most 1.
        k_min: keep at least so many.
        k_max: and at most so many.
    """

    ratio: float
    k_min: int = 1
    k_max: int = 10

    def __post_init__(self) -> None:
        _check_count("k_min", self.k_min)
        _check_count("k_max", self.k_max)
        if not 0 < self.ratio <= 1 or self.k_max < self.k_min:
            raise InputError(
                f"ScoreRatio(ratio={self.ratio}, k_min={self.k_min}, k_max={self.k_max}): "
                "expected a ratio above 0, at most 1, and k_min <= k_max"
            )

    def keep(self, hits: Sequence[Hit]) -> int:
        """Number of leading hits whose score reaches the share."""
        if not hits or not hits[0].score > 0:
            return min(self.k_max, len(hits))
        least = self.ratio * hits[0].score
        reaching = next((n for n, hit in enumerate(hits) if hit.score < least), len(hits))
        return min(max(reaching, self.k_min), self.k_max, len(hits))

    def __str__(self) -> str:
        return f"{self.ratio:.0%} of the best score, at most {self.k_max}"


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}={value!r}: expected an integer of at least 1")
