"""What a cache hands back: a hit, and its counters."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ragopt.cache.scope import Scope

__all__ = ["CacheHit", "CacheStats", "Counters"]


def _none() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CacheHit:
    """An answer given before, to the same question or to one that asks the same.

    Args:
        answer: as it was stored.
        tier: ``"exact"`` (same text) or ``"semantic"`` (similar, and no guard refused).
        similarity: cosine of the two questions; 1.0 for the exact tier.
        entry_id: for `revoke`, and for reports.
        question: that the answer was given to.
        age_s: seconds since it was stored.
        payload: what was stored beside the answer, as JSON gives it back.
        scope: that it was stored in.
        shared: whether that is not the scope that asked, but one the cache lists as shared.
    """

    answer: str
    tier: Literal["exact", "semantic"]
    similarity: float
    entry_id: int
    question: str
    age_s: float
    payload: Mapping[str, Any] = field(default_factory=_none)
    scope: Scope | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters of one cache object since it was opened.

    ``lookups == exact_hits + semantic_hits + misses + errors``.

    Args:
        lookups: calls of `get` with usable arguments.
        exact_hits: served by the same text.
        semantic_hits: served by a similar question.
        misses: nothing served.
        shared_hits: hits, of either tier, from a scope that is listed as shared.
        errors: look-ups that raised, in the store or in the embedder.
        puts: entries stored.
        quarantined: candidates passed over because too few had confirmed them.
        compared: misses that were made so that a fresh answer could be compared.
        not_admitted: answers that were not stored, by the reason.
        refused: candidates at or above the threshold that a guard refused, by the guard's name;
            hits that the caller refused, as ``"check"``.
        expired: entries found past their time, or dated in the future; not served.
        corrupt: entries found damaged; not served.
        judge_failures: comparisons that gave no label, because the judge failed.
    """

    lookups: int = 0
    exact_hits: int = 0
    semantic_hits: int = 0
    misses: int = 0
    shared_hits: int = 0
    errors: int = 0
    puts: int = 0
    quarantined: int = 0
    compared: int = 0
    not_admitted: Mapping[str, int] = field(default_factory=_none)
    refused: Mapping[str, int] = field(default_factory=_none)
    expired: int = 0
    corrupt: int = 0
    judge_failures: int = 0

    @property
    def hits(self) -> int:
        """Look-ups that were served, by either tier."""
        return self.exact_hits + self.semantic_hits

    @property
    def hit_ratio(self) -> float:
        """Share of look-ups that were served; 0 before the first."""
        return self.hits / self.lookups if self.lookups else 0.0


class Counters:
    """Counts from several threads; `CacheStats` is what they show."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._turned_away: Counter[str] = Counter()

    def count(self, name: str, times: int = 1) -> None:
        """Add to one of the fields of `CacheStats`."""
        with self._lock:
            self._counts[name] += times

    def refuse(self, guard: str) -> None:
        """Add a refusal by ``guard``."""
        with self._lock:
            self._refused[guard] += 1

    def turn_away(self, reason: str) -> None:
        """Add an answer that was not stored for this reason."""
        with self._lock:
            self._turned_away[reason] += 1

    def snapshot(self) -> CacheStats:
        """All counters at one moment."""
        with self._lock:
            return CacheStats(
                **self._counts,
                not_admitted=MappingProxyType(dict(self._turned_away)),
                refused=MappingProxyType(dict(self._refused)),
            )
