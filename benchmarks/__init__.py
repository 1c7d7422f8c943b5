"""The harness: indexes, caches, rerankers, compressors and the whole road, measured beside peers.

The rooms: `datasets` loads, `workloads` draws traffic, `measure` reads memory, disk and clocks;
`index`, `cache`, `context` (rerank, compress) and `road` (savings) are the benches; `rows` is what
all of them write and `diff` compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.benchmarks.cache import CacheBenchOptions, bench_cache
    from ragopt.benchmarks.context import (
        CompressBenchOptions,
        RerankBenchOptions,
        bench_compress,
        bench_rerank,
    )
    from ragopt.benchmarks.diff import Diff, DiffOptions
    from ragopt.benchmarks.evidence import EvalItem
    from ragopt.benchmarks.index import IndexBenchOptions, bench_index
    from ragopt.benchmarks.road import SavingsBenchOptions, bench_savings
    from ragopt.benchmarks.road.savings import measure_savings
    from ragopt.benchmarks.road.savings_report import Load, SavingsOptions, SavingsReport
    from ragopt.benchmarks.road.traffic import Traffic, zipf_traffic
    from ragopt.benchmarks.rows import BenchResult, Row

_HOMES = {
    "BenchResult": "ragopt.benchmarks.rows",
    "CacheBenchOptions": "ragopt.benchmarks.cache",
    "CompressBenchOptions": "ragopt.benchmarks.context",
    "Diff": "ragopt.benchmarks.diff",
    "DiffOptions": "ragopt.benchmarks.diff",
    "EvalItem": "ragopt.benchmarks.evidence",
    "IndexBenchOptions": "ragopt.benchmarks.index",
    "Load": "ragopt.benchmarks.road.savings_report",
    "RerankBenchOptions": "ragopt.benchmarks.context",
    "Row": "ragopt.benchmarks.rows",
    "SavingsBenchOptions": "ragopt.benchmarks.road",
    "SavingsOptions": "ragopt.benchmarks.road.savings_report",
    "SavingsReport": "ragopt.benchmarks.road.savings_report",
    "Traffic": "ragopt.benchmarks.road.traffic",
    "bench_cache": "ragopt.benchmarks.cache",
    "bench_compress": "ragopt.benchmarks.context",
    "bench_index": "ragopt.benchmarks.index",
    "bench_rerank": "ragopt.benchmarks.context",
    "bench_savings": "ragopt.benchmarks.road",
    "measure_savings": "ragopt.benchmarks.road.savings",
    "zipf_traffic": "ragopt.benchmarks.road.traffic",
}

__all__ = [
    "BenchResult",
    "CacheBenchOptions",
    "CompressBenchOptions",
    "Diff",
    "DiffOptions",
    "EvalItem",
    "IndexBenchOptions",
    "Load",
    "RerankBenchOptions",
    "Row",
    "SavingsBenchOptions",
    "SavingsOptions",
    "SavingsReport",
    "Traffic",
    "bench_cache",
    "bench_compress",
    "bench_index",
    "bench_rerank",
    "bench_savings",
    "measure_savings",
    "zipf_traffic",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
