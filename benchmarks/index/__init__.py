"""The index bench: libraries side by side, each in its own process, judged by what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.benchmarks.index.bench import bench_index
    from ragopt.benchmarks.index.options import IndexBenchOptions
    from ragopt.benchmarks.index.rederive import recheck
    from ragopt.benchmarks.index.split import Split, check_apart, split_queries

_HOMES = {
    "IndexBenchOptions": "ragopt.benchmarks.index.options",
    "Split": "ragopt.benchmarks.index.split",
    "bench_index": "ragopt.benchmarks.index.bench",
    "check_apart": "ragopt.benchmarks.index.split",
    "recheck": "ragopt.benchmarks.index.rederive",
    "split_queries": "ragopt.benchmarks.index.split",
}

__all__ = [
    "IndexBenchOptions",
    "Split",
    "bench_index",
    "check_apart",
    "recheck",
    "split_queries",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
