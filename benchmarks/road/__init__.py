"""What the whole road saves against the usual baseline, on any corpus with questions."""

from ragopt.benchmarks.road.bench import SavingsBenchOptions, bench_savings, savings_report
from ragopt.benchmarks.road.recorded import load_like, recorded_load, recorded_log

__all__ = [
    "SavingsBenchOptions",
    "bench_savings",
    "load_like",
    "recorded_load",
    "recorded_log",
    "savings_report",
]
