"""What decides whether a similar question is served; by similarity, never by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

__all__ = ["Candidate", "Decision", "Observation", "Policy"]

Decision: TypeAlias = Literal["serve", "ask", "miss"]
"""Serve the cached answer; ask the model and compare, to learn from it; or just ask the model."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the cache would have served, compared with what the model said.

    Args:
        entry_id: that would have been served.
        similarity: of its question to the one asked.
        correct: whether its answer was as good.
        audit: it would have been a hit, and was compared to watch over those.
    """

    entry_id: int
    similarity: float
    correct: bool
    audit: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question in the cache that may ask the same; every guard agrees with it.

    Args:
        asked: the new question.
        cached: the old one.
        similarity: cosine of the two.
        entry_id: of the old one.
        observed: what was compared for this entry so far, oldest first, for policies that learn.
    """

    asked: str
    cached: str
    similarity: float
    entry_id: int
    observed: tuple[Observation, ...] = ()


class Policy(Protocol):
    """Anything that decides on candidates."""

    @property
    def least(self) -> float:
        """Similarity below which it serves nothing; above 1 it serves nothing at all."""
        ...

    def decide(self, candidate: Candidate) -> Decision:
        """What to do with a candidate of at least that similarity."""
        ...
