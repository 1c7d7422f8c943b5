"""The device under a folder: how long one random 4 KiB read takes, and how many a second it does.

An index that reads from disk is bound by these two figures: they say what its pages per query
cost here, and what they would cost elsewhere.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.measure.page_cache import resident_pages
from ragopt.benchmarks.measure.support import PAGE_BYTES, Unmeasurable, mount_of
from ragopt.errors import InputError, StorageError
from ragopt.storage import storage_errors

__all__ = ["DEPTHS", "DeviceProbe", "probe"]

DEPTHS = (1, 16, 64)
"""Reads under way at a time, one thread each."""

_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "zram"})
_BLOCK_BYTES = 4 << 20
_SPARE_BYTES = 64 << 20  # never the last of the disk
_LARGEST_WARM_RATIO = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProbe:
    """What the device under a folder does.

    Args:
        folder: where it was asked.
        filesystem: its type.
        method: ``"O_DIRECT"`` passes the page cache by; ``"fadvise"`` empties it for the file
            before each depth, and no page is read twice.
        size_bytes: of the file that was read from; a device with a cache of its own, or a host
            with a page cache below a virtual disk, may hold all of it.
        p50_us: of one read at a time.
        p99_us: likewise.
        iops: reads under way at a time to reads a second. Threads of one interpreter issue them,
            which alone bounds them to some hundred thousand: large figures are lower bounds.
        reads: how many at each depth.
    """

    folder: str
    filesystem: str
    method: Literal["O_DIRECT", "fadvise"]
    size_bytes: int
    p50_us: float
    p99_us: float
    iops: Mapping[int, float]
    reads: Mapping[int, int]


def probe(folder: Path | str, *, seconds: float = 1.0, size: int = 256 << 20) -> DeviceProbe:
    """Measure random 4 KiB reads in a file of random bytes, which is removed whatever happens.

    Args:
        folder: an existing one, on the device of interest.
        seconds: at each of the depths 1, 16 and 64; writing the file comes on top.
        size: of the file in bytes, at least 1 MiB; rounded down to whole pages.

    Raises:
        InputError: no such folder, or figures out of range.
        StorageError: the disk has no room for the file, or may not be written to.
        Unmeasurable: the folder lies in memory, or its reads come from the page cache whatever
            one does.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place}: not a folder; expected an existing one on the device to probe")
    if not 0 < seconds <= 60 or not 1 << 20 <= size <= 1 << 40:
        raise InputError(
            f"seconds={seconds}, size={size}: expected seconds above 0 and at most 60, and a size "
            "of 1 MiB to 1 TiB"
        )
    filesystem = mount_of(place).filesystem
    if filesystem in _MEMORY:
        raise Unmeasurable(f"{place} is a {filesystem}: memory, not a device; probe another folder")
    _check_room(place, size)
    with _random_file(place, size // PAGE_BYTES) as (handle, direct):
        runs = {depth: _run(handle, size // PAGE_BYTES, depth, seconds, direct) for depth in DEPTHS}
    alone = np.sort(runs[1].nanoseconds) / 1e3
    return DeviceProbe(
        folder=str(place),
        filesystem=filesystem,
        method="O_DIRECT" if direct else "fadvise",
        size_bytes=size // PAGE_BYTES * PAGE_BYTES,
        p50_us=float(alone[(len(alone) - 1) // 2]),
        p99_us=float(alone[-(-len(alone) * 99 // 100) - 1]),
        iops={depth: len(run.nanoseconds) / run.seconds for depth, run in runs.items()},
        reads={depth: len(run.nanoseconds) for depth, run in runs.items()},
    )


@dataclass(frozen=True, slots=True)
class _Run:
    nanoseconds: NDArray[np.int64]
    seconds: float


def _check_room(place: Path, size: int) -> None:
    free = shutil.disk_usage(place).free
    if free < size + _SPARE_BYTES:
        raise StorageError(
            errno.ENOSPC,
            f"{place}: {free:,} B free, the probe writes {size:,} B and leaves {_SPARE_BYTES:,} B; "
            "free some space, or pass a smaller size",
        )


@contextmanager
def _random_file(place: Path, pages: int) -> Iterator[tuple[int, bool]]:
    """A synced file without a name, opened past the page cache where the file system lets us."""
    path = place / f".ragopt-probe-{secrets.token_hex(4)}"
    rng = np.random.default_rng()
    with storage_errors(path):
        try:
            with path.open("xb") as file:
                for begin in range(0, pages * PAGE_BYTES, _BLOCK_BYTES):
                    file.write(rng.bytes(min(_BLOCK_BYTES, pages * PAGE_BYTES - begin)))
                file.flush()
                os.fsync(file.fileno())
            handle, direct = _open_direct(path)
        finally:  # open handles keep it readable, and a killed probe leaves nothing behind
            path.unlink(missing_ok=True)
    try:
        yield handle, direct
    finally:
        os.close(handle)


def _open_direct(path: Path) -> tuple[int, bool]:
    flag = getattr(os, "O_DIRECT", 0)
    if flag:
        try:
            handle = os.open(path, os.O_RDONLY | flag)
        except OSError:  # EINVAL: this file system has no direct reads
            return os.open(path, os.O_RDONLY), False
        try:
            with mmap.mmap(-1, PAGE_BYTES) as page:
                os.preadv(handle, [page], 0)
        except OSError:  # it takes the flag, and refuses reads of one page
            os.close(handle)
        else:
            return handle, True
    return os.open(path, os.O_RDONLY), False


def _run(handle: int, pages: int, depth: int, seconds: float, direct: bool) -> _Run:
    """Random reads of ``depth`` threads, each its own share of the pages in random order."""
    if not direct:
        _make_cold(handle, pages)
    order = np.random.default_rng(depth).permutation(pages)
    shares = [order[start::depth] * PAGE_BYTES for start in range(depth)]
    taken: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * depth
    failures: list[OSError] = []
    begin = perf_counter()

    def read(number: int) -> None:
        try:
            taken[number] = _read_until(handle, shares[number], begin + seconds, again=direct)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = perf_counter() - begin
    if failures:
        raise StorageError(failures[0].errno, f"reading from the device failed: {failures[0]}")
    return _Run(np.concatenate(taken), elapsed)


def _read_until(
    handle: int, offsets: NDArray[np.int64], end: float, *, again: bool
) -> NDArray[np.int64]:
    """Nanoseconds of each read; a page comes twice only where the page cache has no part in it."""
    taken: list[int] = []
    with mmap.mmap(-1, PAGE_BYTES) as page:  # aligned, as direct reads demand
        while True:
            for offset in offsets.tolist():
                start = perf_counter_ns()
                os.preadv(handle, [page], offset)
                taken.append(perf_counter_ns() - start)
                if perf_counter() >= end:
                    return np.array(taken, np.int64)
            if not again or not len(offsets):
                return np.array(taken, np.int64)


def _make_cold(handle: int, pages: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead
    warm, _ = resident_pages(handle, pages * PAGE_BYTES)
    if warm > _LARGEST_WARM_RATIO * pages:
        raise Unmeasurable(
            f"no O_DIRECT here, and {warm:,} of {pages:,} pages stay in the page cache: reads "
            "would measure memory; probe a folder on another file system"
        )
