"""How a run of the cache bench is set up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ragopt.benchmarks.cache.bill import BillOptions
from ragopt.benchmarks.common import at_least
from ragopt.errors import InputError

__all__ = ["PROTOCOLS", "CacheBenchOptions"]

PROTOCOLS = ("pairs", "stream", "latency", "guards")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBenchOptions:
    """What to measure, and how much of it.

    Args:
        only: candidates; all when empty.
        seed: of splits, streams and samples.
        quick: less of everything, for a first look and for tests.
        pairs: labelled pairs drawn; all when None (1,500 in a quick run).
        peer_pairs: of these, answered by policies other than ragopt's own, half of each half
            (300 in a quick run); each is a call to clear, to store and to look up.
        requests: of the stream, about (300 in a quick run).
        log_requests: of a query log (1,000 in a quick run).
        exponent: of a Zipf law that the stream's questions follow, with repeats of the very text;
            None: every text once, so that only questions in new words can be hits.
        thresholds: cosines at which the stream is run; ``threshold`` is always among them.
        threshold: at which wrong hits and the stream are reported.
        errors: shares of wrong hits (a calibrated policy) or of wrongly answered requests (one that
            learns) that such policies are given in the stream; .05 and .1 have rows of their own.
        traps: of each kind, that the guards are put to (200 in a quick run).
        bill: what a call, an embedding, a judgement and a stored answer cost.
        sizes: entries at which look-up and insert are timed, ascending.
        samples: look-ups of each kind that are timed, and inserts.
        protocols: of ``("pairs", "stream", "latency", "guards")``; the last is measured once, not
            of every candidate.

    Raises:
        InputError: a value outside its range.
    """

    only: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    pairs: int | None = None
    peer_pairs: int = 4000
    requests: int = 2000
    log_requests: int = 8000
    exponent: float | None = None
    thresholds: tuple[float, ...] = (0.8, 0.85, 0.9, 0.95)
    threshold: float = 0.95
    errors: tuple[float, ...] = (0.05, 0.1, 0.2)
    traps: int = 1000
    bill: BillOptions = field(default_factory=BillOptions)
    sizes: tuple[int, ...] = (1000, 100_000)
    samples: int = 300
    protocols: tuple[str, ...] = PROTOCOLS

    def __post_init__(self) -> None:
        if self.quick:
            self._reduce()
        for name in ("peer_pairs", "requests", "log_requests", "samples"):
            at_least(name, getattr(self, name), 2)
        at_least("traps", self.traps)
        if self.pairs is not None:
            at_least("pairs", self.pairs, 2)
        if self.exponent is not None and not 0 <= self.exponent < math.inf:
            raise InputError(f"exponent={self.exponent}, expected a finite number of at least 0")
        for threshold in (self.threshold, *self.thresholds):
            if not 0 < threshold <= 1:
                raise InputError(f"threshold={threshold}, expected a cosine above 0, at most 1")
        for error in self.errors:
            if not 0 < error < 0.5:
                raise InputError(f"errors: {error}, expected shares above 0 and below .5")
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 10:
            raise InputError(f"sizes={self.sizes}, expected ascending numbers of 10 or more")
        if not self.protocols or not set(self.protocols) <= set(PROTOCOLS):
            raise InputError(f"protocols={self.protocols}, expected some of {PROTOCOLS}")

    def _reduce(self) -> None:
        """What is not given is less; what is given stands."""
        for name, (usual, reduced) in _QUICK.items():
            if getattr(self, name) == usual:
                object.__setattr__(self, name, reduced)

    @property
    def stream_thresholds(self) -> tuple[float, ...]:
        """Ascending, the reported one among them."""
        return tuple(sorted({*self.thresholds, self.threshold}))


_QUICK: dict[str, tuple[Any, Any]] = {
    "pairs": (None, 1500),
    "peer_pairs": (4000, 300),
    "requests": (2000, 300),
    "log_requests": (8000, 1000),
    "traps": (1000, 200),
    "thresholds": ((0.8, 0.85, 0.9, 0.95), (0.85, 0.95)),
    "sizes": ((1000, 100_000), (1000, 5000)),
    "samples": (300, 60),
}
