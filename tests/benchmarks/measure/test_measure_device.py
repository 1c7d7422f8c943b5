"""The device: probed in its folder, nothing left behind, memory never taken for a device."""

from __future__ import annotations

import errno
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ragopt.benchmarks.measure import Unmeasurable, device, probe
from ragopt.benchmarks.measure.support import mount_of
from ragopt.errors import InputError, StorageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe needs Linux")

SMALL = 4 << 20


def _on_device(folder: Path) -> Path:
    if mount_of(folder).filesystem in ("tmpfs", "ramfs"):
        pytest.skip("the folder for temporary files lies in memory")
    return folder


def test_a_probe_measures_every_depth_and_leaves_nothing(tmp_path: Path) -> None:
    found = probe(_on_device(tmp_path), seconds=0.1, size=SMALL + 123)
    assert list(tmp_path.iterdir()) == []
    assert set(found.iops) == set(found.reads) == {1, 16, 64}
    assert 0 < found.p50_us <= found.p99_us
    assert all(rate > 0 for rate in found.iops.values())
    assert found.size_bytes == SMALL
    assert found.filesystem == mount_of(tmp_path).filesystem


def test_without_direct_reads_no_page_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(device.os, "O_DIRECT", raising=False)
    found = probe(_on_device(tmp_path), seconds=5, size=1 << 20)
    assert found.method == "fadvise"
    assert set(found.reads.values()) == {256}


def test_pages_that_stay_cached_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(device.os, "O_DIRECT", raising=False)
    monkeypatch.setattr(device.os, "POSIX_FADV_DONTNEED", device.os.POSIX_FADV_NORMAL)
    with pytest.raises(Unmeasurable, match="stay in the page cache"):
        probe(_on_device(tmp_path), seconds=0.1, size=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_no_device() -> None:
    if not Path("/dev/shm").is_dir() or mount_of("/dev/shm").filesystem != "tmpfs":
        pytest.skip("no tmpfs at /dev/shm")
    with pytest.raises(Unmeasurable, match="memory, not a device"):
        probe("/dev/shm", size=SMALL)


def test_a_disk_without_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(device.shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, SMALL))
    with pytest.raises(StorageError, match="smaller size") as caught:
        probe(_on_device(tmp_path), size=SMALL)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource
    import signal

    _on_device(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL // 2, limits[1]))
    try:
        with pytest.raises(StorageError):
            probe(tmp_path, size=SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "figures", [{"seconds": 0}, {"seconds": 61}, {"size": 1000}, {"seconds": float("nan")}]
)
def test_figures_out_of_range_are_refused(tmp_path: Path, figures: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected seconds"):
        probe(tmp_path, **figures)  # type: ignore[arg-type]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        probe(tmp_path / "none")
