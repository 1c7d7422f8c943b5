"""Disk reads: all threads are counted, the look at the counters is not."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.measure import ProcessIo, drop, reading
from ragopt.benchmarks.measure.support import mount_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/io needs Linux")

SIZE = 4 << 20


def _cold(folder: Path) -> Path:
    if mount_of(folder).filesystem in ("tmpfs", "ramfs"):
        pytest.skip("the folder for temporary files lies in memory")
    path = folder / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    assert drop([path], whole_machine=False).cold
    return path


def test_a_block_that_reads_nothing_costs_nothing() -> None:
    with reading() as read:
        pass
    assert (read.size_bytes, read.pages, read.syscalls, read.faults) == (0, 0, 0, 0)


def test_calls_and_bytes_asked_for_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(1000))
    handle = os.open(path, os.O_RDONLY)
    with reading() as read:
        for _ in range(10):
            os.pread(handle, 100, 0)
    os.close(handle)
    assert read.syscalls == 10
    assert read.total.rchar == 1000


def test_reads_of_other_threads_are_in_it(tmp_path: Path) -> None:
    path = _cold(tmp_path)
    with reading() as read:
        thread = threading.Thread(target=path.read_bytes)
        thread.start()
        thread.join()
    if read.size_bytes == 0:
        pytest.skip("this file system's reads do not show in /proc/self/io")
    assert read.size_bytes == SIZE


def test_faults_in_a_mapped_file_are_reads_without_calls(tmp_path: Path) -> None:
    mapping = np.memmap(_cold(tmp_path), mode="r")
    with reading() as read:
        int(mapping[::4096].sum())
    if read.size_bytes == 0:
        pytest.skip("this file system's reads do not show in /proc/self/io")
    assert read.size_bytes == SIZE
    assert read.faults >= 1
    assert read.syscalls == 0


def test_the_figures_stand_still_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(100))
    with reading() as read:
        path.read_bytes()
        within = read.syscalls
    after = read.syscalls
    path.read_bytes()
    assert 0 < within <= after == read.syscalls


def test_an_error_in_the_block_passes() -> None:
    with pytest.raises(KeyError), reading() as read:
        raise KeyError
    assert read.size_bytes >= 0


def test_pages_are_rounded_up() -> None:
    assert ProcessIo(4097, 0, 0, 0).pages == 2
    assert ProcessIo(4096, 0, 0, 0).pages == 1
    assert ProcessIo(9, 8, 7, 6) - ProcessIo(1, 2, 3, 4) == ProcessIo(8, 6, 4, 2)
