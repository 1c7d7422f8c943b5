"""The plain tunable threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ragopt.cache.checks import is_number
from ragopt.cache.policies.base import Candidate, Decision
from ragopt.errors import InputError

__all__ = ["Off", "Static"]

_STRICTEST = 0.995


@dataclass(frozen=True, slots=True)
class Static:
    """Serve from a similarity on. No error is promised; `Calibrated` certifies one.

    Args:
        threshold: least cosine, above 0 and at most 1.

    Raises:
        InputError: another threshold.
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        if not is_number(self.threshold) or not 0 < self.threshold <= 1:
            raise InputError(f"threshold={self.threshold!r}, expected a cosine above 0, at most 1")

    @property
    def least(self) -> float:
        """The threshold."""
        return self.threshold

    def decide(self, candidate: Candidate) -> Decision:  # noqa: ARG002 - similarity was looked at
        """Always to serve."""
        return "serve"

    def __str__(self) -> str:
        return f"threshold={self.threshold}"

    def stricter(self) -> Static | None:
        """The next step towards 1, half of the way; None beyond .995."""
        threshold = (1 + self.threshold) / 2
        return Static(threshold) if threshold <= _STRICTEST else None


@dataclass(frozen=True, slots=True)
class Off:
    """Serve nothing that is merely similar."""

    def __str__(self) -> str:
        return "similar questions off"

    @property
    def least(self) -> float:
        """Beyond every similarity."""
        return math.inf

    def decide(self, candidate: Candidate) -> Decision:  # noqa: ARG002 - none is good enough
        """Never to serve."""
        return "miss"
