"""Measuring: memory, page cache, disk reads, the device, hard memory limits, latency.

Where a platform cannot tell a figure, the function that was asked for it raises `Unmeasurable`
with the reason: no figure is ever estimated in its place.
"""

from __future__ import annotations

from ragopt.benchmarks.measure.device import DeviceProbe, probe
from ragopt.benchmarks.measure.disk_io import ProcessIo, Reading, reading
from ragopt.benchmarks.measure.latency import Latencies, Paired, interleave, timed, warm_up
from ragopt.benchmarks.measure.limit import (
    MemoryLimit,
    Outcome,
    SmallestLimit,
    run_limited,
    smallest_limit,
)
from ragopt.benchmarks.measure.memory import Memory, Peak, PeakSampler, memory, trim
from ragopt.benchmarks.measure.page_cache import CacheState, drop, resident_ratio
from ragopt.benchmarks.measure.support import Unmeasurable

__all__ = [
    "CacheState",
    "DeviceProbe",
    "Latencies",
    "Memory",
    "MemoryLimit",
    "Outcome",
    "Paired",
    "Peak",
    "PeakSampler",
    "ProcessIo",
    "Reading",
    "SmallestLimit",
    "Unmeasurable",
    "drop",
    "interleave",
    "memory",
    "probe",
    "reading",
    "resident_ratio",
    "run_limited",
    "smallest_limit",
    "timed",
    "trim",
    "warm_up",
]
