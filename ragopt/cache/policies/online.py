"""A threshold of its own for every entry, learnt from what it served: vCache's idea, tightened.

Whether a cached answer may be given at a similarity differs from entry to entry. Each has a
logistic curve P(correct | similarity), drawn towards the one that all entries share; what is sure
about it grows with every answer that was compared with a fresh one. The lower end of that curve
decides how often the model is asked instead: always at first, rarely later, never never.

Schroeder et al., "vCache: Verified Semantic Prompt Caching" (ICLR 2026, arXiv 2502.03771), section
4. Different from there:

- The prior is fitted to the observations of all entries, so that a new entry need not learn what
  all others know. In exchange an entry serves only at similarities at which it was seen to be
  right: the prior alone serves nothing.
- The posterior is summed over a grid of curves. Laplace's approximation of it is far too wide where
  all answers were right, which is the usual case: after 60 of them its bound is still .89.
- The confidence that is spent on the curve is sought on a logarithmic grid: on a linear one the
  least step is .02, and half of the requests go on being explored after twenty clean answers.
- A share of the requests is always explored, so that an entry that has gone wrong is found out.
"""

from __future__ import annotations

import math
import random
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.checks import is_count, is_number
from ragopt.cache.policies.base import Candidate, Decision, Observation
from ragopt.errors import InputError

__all__ = ["PerEntry"]

_SPENT = np.logspace(-5, -0.5, 19)
_LEAST_DISTANCE = 1e-3
_CENTRE = 2.3  # nearness of a similarity of .9
_POOL_COUNTS_FOR = 40  # observations that the shared curve is worth, at most
_KEPT = 64  # observations of an entry; what was seen before is older than its drift
_CURVES = 512  # of entries, kept up to date as they learn: 15 kB each

# Curves that are thought possible: log-odds at a similarity of .9, and how they rise with nearness.
# They do not fall: what is more similar is not less likely to be right.
_LEVELS, _SLOPES = (
    part.ravel() for part in np.meshgrid(np.linspace(-5, 10, 61), np.linspace(0, 6, 31))
)
_FLAT = -((_LEVELS / 3) ** 2) / 2 - ((_SLOPES - 1) / 2) ** 2 / 2  # log-density before all data


@dataclass(frozen=True, slots=True)
class _Curve:
    """What is believed of each possible curve: log-densities, not normalised."""

    beliefs: NDArray[np.float64]

    def lowest(self, nearness: float) -> float:
        """A lower bound on P(correct) at a nearness; see vCache, section 4.2.

        The best, over the chance that is spent, of the quantile at that chance times the rest.
        """
        chances = _logistic(_LEVELS + _SLOPES * nearness)
        order = np.argsort(chances)
        mass = np.cumsum(np.exp(self.beliefs - self.beliefs.max())[order])
        places = np.searchsorted(mass, _SPENT * mass[-1])
        return float(((1 - _SPENT) * chances[order[places]]).max())


@dataclass(slots=True, kw_only=True)
class PerEntry:
    """Serve an entry where its own curve is high enough; ask and compare where it is not.

    It needs a cache with a ``judge``, which compares what the cache would have served with what the
    model said. ``max_error`` bounds the share of all requests that are answered wrongly from the
    cache, ``max_hit_error`` what is known of each answer that is served.

    Args:
        max_error: tolerated share of wrongly answered requests, above 0 and below .5.
        max_hit_error: an answer is served only where it is right with a probability of at least
            one minus this; no less than ``max_error``.
        explored: share of the requests that is always compared.
        least: similarity below which nothing is looked at.
        seed: of the exploring; drawn from the system when None.

    Raises:
        InputError: a value outside its range.
    """

    max_error: float = 0.02
    max_hit_error: float = 0.1
    explored: float = 0.02
    least: float = 0.6
    seed: int | None = None
    learns: bool = field(default=True, init=False)
    _random: random.Random = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _seen: list[Observation] = field(default_factory=list, init=False, repr=False)
    _pool: _Curve = field(init=False, repr=False)
    _pooled: int = field(default=0, init=False, repr=False)
    _likely: OrderedDict[int, tuple[int, NDArray[np.float64]]] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        shares = (self.max_error, self.max_hit_error, self.explored, self.least)
        if not all(map(is_number, shares)):
            raise InputError(
                f"max_error, max_hit_error, explored and least are {shares!r}, expected numbers"
            )
        if not 0 < self.max_error <= self.max_hit_error < 0.5:
            raise InputError(
                f"max_error={self.max_error!r}, max_hit_error={self.max_hit_error!r}: expected "
                "shares above 0 and below .5, the second no less than the first"
            )
        if not 0 <= self.explored < 1 or not 0 < self.least < 1:
            raise InputError(
                f"explored={self.explored!r}, least={self.least!r}: expected a share below 1 and a "
                "cosine between 0 and 1"
            )
        if self.seed is not None and not is_count(self.seed):
            raise InputError(f"seed={self.seed!r}, expected a whole number, or None")
        self._random = random.Random(self.seed)  # noqa: S311 - no secret hangs on it
        self._pool = _Curve(_FLAT)

    def decide(self, candidate: Candidate) -> Decision:
        """Serve, or ask the model and compare."""
        best = self.lowest(candidate)
        seen_right = [seen.similarity for seen in candidate.observed if seen.correct]
        if not seen_right or candidate.similarity < min(seen_right) or best < self._needed:
            return "ask"
        # as often as it takes for the share of wrong answers among all requests (section 4.3)
        asking = max(0.0, 1 - self.max_error / max(1 - best, 1e-12), self.explored)
        return "serve" if self._random.random() > asking else "ask"

    def lowest(self, candidate: Candidate) -> float:
        """What P(correct) is at least, for this entry at this similarity."""
        return self._curve(candidate).lowest(_nearness(candidate.similarity))

    def learn(self, observations: Iterable[Observation]) -> None:
        """Take in what any process has compared, in order."""
        with self._lock:
            self._seen.extend(observations)
            if len(self._seen) > 1.2 * self._pooled + 1:
                self._pooled = len(self._seen)
                weight = min(1.0, _POOL_COUNTS_FOR / self._pooled)
                self._pool = _Curve(_FLAT + weight * _likelihood(self._seen))

    @property
    def _needed(self) -> float:
        return 1 - self.max_hit_error

    def _curve(self, candidate: Candidate) -> _Curve:
        """The shared curve and what the entry's own observations say; new ones are added."""
        observed, entry = candidate.observed, candidate.entry_id
        with self._lock:
            counted, likely = self._likely.get(entry, (0, None))
        if likely is None or not counted <= len(observed) <= _KEPT:
            likely = _likelihood(observed[-_KEPT:])
        elif counted < len(observed):
            likely = likely + _likelihood(observed[counted:])
        with self._lock:
            self._likely[entry] = len(observed), likely
            self._likely.move_to_end(entry)
            if len(self._likely) > _CURVES:
                self._likely.popitem(last=False)
        return _Curve(self._pool.beliefs + likely)

    def __str__(self) -> str:
        return (
            f"learns per entry: at most {self.max_error:.1%} of the requests wrong, "
            f"{self.max_hit_error:.1%} of what is served; {len(self._seen):,} answers compared"
        )


def _likelihood(observed: Sequence[Observation]) -> NDArray[np.float64]:
    """Log-likelihood of what was observed under each possible curve."""
    total = np.zeros_like(_LEVELS)
    for first in range(0, len(observed), _KEPT):
        part = observed[first : first + _KEPT]
        near = np.array([_nearness(seen.similarity) for seen in part])
        signs = np.array([1.0 if seen.correct else -1.0 for seen in part])
        odds = (_LEVELS[:, None] + _SLOPES[:, None] * near) * signs
        total -= np.logaddexp(0, -odds).sum(axis=1)
    return total


def _nearness(similarity: float) -> float:
    return -math.log(max(_LEAST_DISTANCE, 1 - similarity)) - _CENTRE


def _logistic(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    likely: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
    return likely
