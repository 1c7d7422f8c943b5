"""Cold files: dropped, proved by counting, and what cannot be dropped is said to be warm."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.measure import drop, reading, resident_ratio
from ragopt.benchmarks.measure.support import mount_of
from ragopt.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the page cache needs Linux")

SIZE = 8 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    if mount_of(tmp_path).filesystem in ("tmpfs", "ramfs"):
        pytest.skip("the folder for temporary files lies in memory: nothing there is ever cold")
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.mark.parametrize("whole_machine", [False, True])
def test_a_dropped_file_is_cold_and_reading_it_warms_it(file: Path, whole_machine: bool) -> None:
    assert resident_ratio([file]) == 1
    state = drop([file], whole_machine=whole_machine)
    assert state.cold
    assert state.resident_ratio == resident_ratio([file]) <= 0.01
    assert state.size_bytes == SIZE
    assert state.method in ("fadvise", "drop_caches")
    assert whole_machine or state.method == "fadvise"
    file.read_bytes()
    assert resident_ratio([file]) == 1


def test_what_another_process_has_mapped_stays_and_is_not_called_cold(file: Path) -> None:
    code = (
        "import mmap, sys; file = open(sys.argv[1], 'rb');"
        "mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ);"
        "sum(mapping[::4096]); print(1, flush=True); sys.stdin.read(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        state = drop([file], whole_machine=False)
        assert not state.cold
        assert state.resident_ratio > 0.9
        child.communicate(b"x")
    assert drop([file], whole_machine=False).cold


def test_what_this_process_has_mapped_is_let_go_of_and_reads_the_same_again(file: Path) -> None:
    content = file.read_bytes()
    shared = np.memmap(file, mode="r")
    with file.open("rb") as handle:
        private = mmap.mmap(
            handle.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    assert bytes(shared) == bytes(private) == content
    private[:4] = b"mine"
    state = drop([file], whole_machine=False)
    assert state.resident_ratio < 0.9  # a private mapping may keep some, never what it changed
    assert bytes(shared) == content
    assert private[:4] == b"mine"
    assert private[4:] == content[4:]
    private.close()
    assert drop([file], whole_machine=False).cold


def test_changes_that_were_not_written_yet_survive(file: Path) -> None:
    changed = np.memmap(file, mode="r+")
    changed[:5] = np.frombuffer(b"dirty", np.uint8)
    assert drop([file]).cold
    assert file.read_bytes()[:5] == b"dirty"
    assert bytes(changed[:5]) == b"dirty"


def test_reading_cold_costs_the_device_and_reading_warm_costs_nothing(file: Path) -> None:
    assert drop([file], whole_machine=False).cold
    with reading() as cold:
        file.read_bytes()
    with reading() as warm:
        file.read_bytes()
    if cold.size_bytes == 0:
        pytest.skip("this file system's reads do not show in /proc/self/io")
    assert cold.size_bytes == SIZE
    assert cold.pages == SIZE // 4096
    assert warm.size_bytes == warm.pages == 0


def test_folders_are_taken_with_all_that_is_below_them(file: Path, tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "more.bin").write_bytes(bytes(SIZE))
    (below / "empty").touch()
    state = drop([tmp_path, file], whole_machine=False)
    assert state.size_bytes == 2 * SIZE
    assert state.cold
    (below / "more.bin").read_bytes()
    assert resident_ratio([tmp_path]) == pytest.approx(0.5, abs=0.01)


def test_an_empty_file_is_cold(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert resident_ratio([tmp_path]) == 0
    assert drop([tmp_path / "empty"], whole_machine=False).cold


def test_files_in_memory_are_never_called_cold() -> None:
    folder = Path("/dev/shm")
    if not folder.is_dir() or mount_of(folder).filesystem != "tmpfs":
        pytest.skip("no tmpfs at /dev/shm")
    path = folder / f"ragopt-test-{os.getpid()}"
    path.write_bytes(bytes(1 << 20))
    try:
        assert not drop([path]).cold
    finally:
        path.unlink()


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        drop([tmp_path / "none"])
    with pytest.raises(InputError, match="no files"):
        resident_ratio([tmp_path])
    with pytest.raises(InputError, match="no files"):
        drop([])
