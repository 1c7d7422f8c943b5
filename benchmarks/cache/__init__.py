"""Caches measured: hits, wrong hits and latency, each policy behind its own interface."""

from __future__ import annotations

from ragopt.benchmarks.cache.bench import CANDIDATES, bench_cache
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.policies import Candidate, Opening, Policy, Served
from ragopt.benchmarks.cache.recheck import recheck
from ragopt.benchmarks.cache.unavailable import Unavailable

__all__ = [
    "CANDIDATES",
    "CacheBenchOptions",
    "Candidate",
    "Opening",
    "Policy",
    "Served",
    "Unavailable",
    "bench_cache",
    "recheck",
]
