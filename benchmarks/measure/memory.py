"""Memory of a process: anonymous, file-backed and shared apart, now and at its peak.

Anonymous pages (the heap) must be paid for in RAM; pages of mapped files may be given back to the
system at any time, so a figure that adds the two says little. Linux only: elsewhere `memory` and
`PeakSampler` raise `Unmeasurable`, since no other system tells the two apart.

The kernel keeps its counters per CPU and adds them up now and then: a figure may be off by some
hundred kilobytes, more on machines with very many cores.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType

from ragopt.benchmarks.measure.support import Unmeasurable, libc, read_kernel_file
from ragopt.errors import InputError

__all__ = ["Memory", "Peak", "PeakSampler", "memory", "trim"]

_LINE = re.compile(r"^(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB$", re.MULTILINE)
_RESET_PEAK = "5"  # see clear_refs in proc(5)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process that are in RAM.

    Args:
        rss_anon: heap, stacks and private changes.
        rss_file: pages of mapped files that are in its page table.
        rss_shmem: shared memory, tmpfs included.
        peak_rss: largest sum of the three since the process began, or since a reset.
    """

    rss_anon: int
    rss_file: int
    rss_shmem: int
    peak_rss: int

    @property
    def rss(self) -> int:
        """All of it."""
        return self.rss_anon + self.rss_file + self.rss_shmem


def memory(pid: int | None = None) -> Memory:
    """What a process holds now; this one by default.

    Raises:
        Unmeasurable: no ``/proc`` that tells, or no such process.
    """
    path = f"/proc/{'self' if pid is None else pid}/status"
    fields = dict(_LINE.findall(read_kernel_file(path, "memory of a process")))
    if len(fields) < 4:
        raise Unmeasurable(
            f"memory of a process cannot be measured: {path} has {sorted(fields)} of RssAnon, "
            "RssFile, RssShmem and VmHWM (a process that has ended, or a kernel before 4.5)"
        )
    kilobytes = {name: int(value) << 10 for name, value in fields.items()}
    return Memory(
        rss_anon=kilobytes["RssAnon"],
        rss_file=kilobytes["RssFile"],
        rss_shmem=kilobytes["RssShmem"],
        peak_rss=kilobytes["VmHWM"],
    )


def trim() -> bool:
    """Give freed heap back to the system, so that memory of the past is not billed.

    Returns:
        Whether anything could be done: glibc only; elsewhere False, and nothing is done.
    """
    give_back = None if os.name != "posix" else getattr(libc(), "malloc_trim", None)
    if give_back is None:
        return False
    give_back(0)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Largest figures seen while something ran.

    Args:
        rss: by the kernel's own high-water mark where ``reset``, else the largest sampled sum.
        rss_anon: largest sampled.
        rss_file: largest sampled.
        before: what the process held when sampling began.
        samples: how many were taken.
        largest_gap_s: longest time without a sample; a peak of the parts may hide in it.
        reset: whether the high-water mark was set back at the start.
    """

    rss: int
    rss_anon: int
    rss_file: int
    before: Memory
    samples: int
    largest_gap_s: float
    reset: bool


class PeakSampler:
    """Watch the memory of a process while a block runs.

    ::

        with PeakSampler() as sampler:
            build()
        sampler.peak.rss_anon

    A thread reads the parts every few milliseconds. Native code that keeps the interpreter's lock
    keeps the thread waiting as well, which `Peak.largest_gap_s` shows; the total comes from the
    kernel and misses nothing. To watch without gaps, watch from another process with ``pid``.

    Args:
        pid: of the process; this one by default.
        interval_s: between samples, above 0.

    Raises:
        InputError: an interval that is not above 0.
    """

    def __init__(self, pid: int | None = None, *, interval_s: float = 0.005) -> None:
        if not 0 < interval_s <= 60:
            raise InputError(f"interval_s={interval_s}: expected seconds above 0 and at most 60")
        self._pid = pid
        self._interval = interval_s
        self._done = threading.Event()
        self._peak: Peak | None = None

    @property
    def peak(self) -> Peak:
        """What was seen; complete after the block.

        Raises:
            InputError: asked for before the block ended.
        """
        if self._peak is None:
            raise InputError("the peak is known after the with block, not within it")
        return self._peak

    def __enter__(self) -> PeakSampler:
        self._reset = _reset_peak(self._pid)
        self._before = memory(self._pid)
        self._anon, self._file = self._before.rss_anon, self._before.rss_file
        self._sum, self._samples = self._before.rss, 1
        self._high = 0
        self._gap, self._last = 0.0, perf_counter()
        self._done.clear()
        self._thread = threading.Thread(target=self._watch, name="ragopt-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._sample()
        self._peak = Peak(
            rss=max(self._sum, self._high if self._reset else 0),
            rss_anon=self._anon,
            rss_file=self._file,
            before=self._before,
            samples=self._samples,
            largest_gap_s=self._gap,
            reset=self._reset,
        )

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        try:
            now = memory(self._pid)
        except Unmeasurable:  # it was there at the start: it has ended since
            return
        moment = perf_counter()
        self._gap, self._last = max(self._gap, moment - self._last), moment
        self._anon, self._file = max(self._anon, now.rss_anon), max(self._file, now.rss_file)
        self._sum, self._samples = max(self._sum, now.rss), self._samples + 1
        self._high = max(self._high, now.peak_rss)


def _reset_peak(pid: int | None) -> bool:
    try:
        Path(f"/proc/{'self' if pid is None else pid}/clear_refs").write_text(_RESET_PEAK, "utf-8")
    except OSError:  # hidden in some containers; samples have to do
        return False
    return True
