"""How the index bench measures, and how much time it may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ragopt.benchmarks.index.split import FEWEST
from ragopt.errors import InputError
from ragopt.quality import Floor

__all__ = ["Budget", "IndexBenchOptions"]

_SMALLEST_LIMIT = 16 << 20  # no Python process starts in less


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is measured, and how long a phase may take.

    Args:
        base_rows: largest number of rows indexed; None for all.
        tuning: queries that say how cheap a knob may seem.
        report: queries that every figure stands on.
        search_s: aimed at for the sweep of one candidate; beyond it fewer queries are timed.
        cold_blocks: times that the page cache is dropped.
        block_queries: unseen queries asked after each.
        cold_s: after which no further block is begun.
        zipf_requests: of the Zipf stream.
        zipf_s: after which that stream is cut off.
        timeout_s: of a phase, after which its process is killed.
    """

    base_rows: int | None
    tuning: int
    report: int
    search_s: float
    cold_blocks: int
    block_queries: int
    cold_s: float
    zipf_requests: int
    zipf_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBenchOptions:
    """Options of `ragopt.benchmarks.index.bench_index`.

    Args:
        only: candidates: names of peers, spec strings of ragopt's own (``"hnsw(m=32)"``), or
            ``"module:Class"`` for a `Peer` of one's own; all peers where empty.
        seed: of the split, the order of the candidates, builds, streams and bounds.
        quick: 10,000 rows and 150 + 300 queries, with small budgets.
        k: results a query.
        recall: floor of the operating point.
        confidence: of the lower bound that must reach it.
        tuning: number of tuning queries; 500 (quick: 150) where not given.
        report: number of report queries; 1,000 (quick: 300) where not given.
        passes: timed over the queries at each knob value; medians are reported.
        threads: of builds and of batch searches; all that this process may use where not given.
        work: folder for indexes and unfinished runs; ``$XDG_CACHE_HOME/ragopt/bench`` where not
            given. It must be on a real disk for cold figures.
        fresh: measure again what an earlier run with the same options has finished.
        timeout_s: of one phase of one candidate; 900 (quick: 120) where not given.
        memory_limit: bytes that every searching process is held to (cgroup); builds are not.
        find_memory_limit: look for the smallest limit under which the operating point answers.
        keep_indexes: leave built indexes in the work folder.

    Raises:
        InputError: a value outside its range.
    """

    only: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    k: int = 10
    recall: float = 0.95
    confidence: float = 0.95
    tuning: int | None = None
    report: int | None = None
    passes: int = 3
    threads: int | None = None
    work: Path | None = None
    fresh: bool = False
    timeout_s: float | None = None
    memory_limit: int | None = None
    find_memory_limit: bool = False
    keep_indexes: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("k", 1),
            ("passes", 1),
            ("seed", 0),
            ("threads", 1),
            ("tuning", FEWEST),
            ("report", FEWEST),
            ("memory_limit", _SMALLEST_LIMIT),
        ):
            value = getattr(self, name)
            if value is None and name not in {"k", "passes", "seed"}:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name}={value!r}: expected an integer of at least {least}")
        if not 0 < self.recall <= 1:
            raise InputError(f"recall={self.recall}: expected above 0, at most 1")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InputError(f"timeout_s={self.timeout_s}: expected seconds above 0")
        _ = self.floor  # checks the confidence

    @property
    def floor(self) -> Floor:
        """What recall@k must keep at the operating point."""
        return Floor(metric=f"recall@{self.k}", at_least=self.recall, confidence=self.confidence)

    @property
    def budget(self) -> Budget:
        """Sizes and seconds, ``quick`` or full."""
        if self.quick:
            return Budget(
                base_rows=10_000,
                tuning=self.tuning or 150,
                report=self.report or 300,
                search_s=5,
                cold_blocks=4,
                block_queries=25,
                cold_s=6,
                zipf_requests=600,
                zipf_s=3,
                timeout_s=self.timeout_s or 120,
            )
        return Budget(
            base_rows=None,
            tuning=self.tuning or 500,
            report=self.report or 1_000,
            search_s=75,
            cold_blocks=15,  # 375 queries: the fewest for an interval of the 99th percentile
            block_queries=25,
            cold_s=45,
            zipf_requests=2_000,
            zipf_s=20,
            timeout_s=self.timeout_s or 900,
        )

    @property
    def all_threads(self) -> int:
        """Threads of builds and batches."""
        if self.threads is not None:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    @property
    def work_folder(self) -> Path:
        """Where unfinished runs stand."""
        if self.work is not None:
            return self.work
        cache = os.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "ragopt" / "bench"
