"""What a block of code read from the disk: bytes, pages, system calls, page faults.

Linux counts for a whole process: reads of all its threads are in the figures, those of other
processes (a server that a client asks) are not. Bytes are what the device was asked for: what the
page cache answered costs none, what read-ahead fetched besides does count.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from ragopt.benchmarks.measure.support import PAGE_BYTES, read_kernel_file

__all__ = ["ProcessIo", "Reading", "reading"]

_LINE = re.compile(r"^(\w+): (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProcessIo:
    """Counters of this process since it began, or their growth between two moments.

    Args:
        read_bytes: fetched from a device, by reads and by faults in mapped files.
        rchar: asked for by read calls, from wherever it came; mapped files never show here.
        syscr: read calls.
        major_faults: page faults that had to wait for a device.
    """

    read_bytes: int
    rchar: int
    syscr: int
    major_faults: int

    @classmethod
    def now(cls) -> ProcessIo:
        """The counters as they stand.

        Raises:
            Unmeasurable: no ``/proc/self/io``.
        """
        import resource

        fields = dict(_LINE.findall(read_kernel_file("/proc/self/io", "disk reads of a process")))
        return cls(
            read_bytes=int(fields["read_bytes"]),
            rchar=int(fields["rchar"]),
            syscr=int(fields["syscr"]),
            major_faults=resource.getrusage(resource.RUSAGE_SELF).ru_majflt,
        )

    @property
    def pages(self) -> int:
        """4 KiB pages fetched from a device."""
        return -(-self.read_bytes // PAGE_BYTES)

    def __sub__(self, earlier: ProcessIo) -> ProcessIo:
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return ProcessIo(*(after - before for after, before in pairs))


class Reading:
    """What was read since `reading` began; it stands still when the block ends."""

    def __init__(self) -> None:
        before = ProcessIo.now()
        # Looking at the counters is a read itself, and is not the block's.
        self._cost = ProcessIo.now() - before
        self._end: ProcessIo | None = None
        self._begin = ProcessIo.now()

    def stop(self) -> None:
        """Read the counters for the last time."""
        self._end = ProcessIo.now()

    @property
    def total(self) -> ProcessIo:
        """All of it, the look at the counters taken off."""
        grown = (self._end or ProcessIo.now()) - self._begin - self._cost
        return ProcessIo(*(max(0, value) for value in astuple(grown)))

    @property
    def size_bytes(self) -> int:
        """Bytes fetched from a device."""
        return self.total.read_bytes

    @property
    def pages(self) -> int:
        """4 KiB pages fetched from a device."""
        return self.total.pages

    @property
    def syscalls(self) -> int:
        """Read calls."""
        return self.total.syscr

    @property
    def faults(self) -> int:
        """Page faults that had to wait for a device."""
        return self.total.major_faults


@contextlib.contextmanager
def reading() -> Iterator[Reading]:
    """Count what the block reads.

    ::

        with reading() as read:
            index.search(query, 10)
        read.pages

    Raises:
        Unmeasurable: this platform does not count it.
    """
    counted = Reading()
    try:
        yield counted
    finally:
        counted.stop()
