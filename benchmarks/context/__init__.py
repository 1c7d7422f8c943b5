"""What reranking and compression keep of a context, and at what price."""

from ragopt.benchmarks.context.compress import CompressBenchOptions, bench_compress
from ragopt.benchmarks.context.recheck import recheck
from ragopt.benchmarks.context.rerank import RerankBenchOptions, bench_rerank

__all__ = [
    "CompressBenchOptions",
    "RerankBenchOptions",
    "bench_compress",
    "bench_rerank",
    "recheck",
]
