"""Memory: what is allocated shows where it belongs, and peaks are not missed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ragopt.benchmarks.measure import PeakSampler, Unmeasurable, memory, trim
from ragopt.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory by kind needs Linux")

MIB = 1 << 20
SIZE = 64 * MIB
SLACK = 6 * MIB


def _in_fresh_process(code: str) -> list[int]:
    """Numbers that a script prints: other tests' memory is not in them."""
    head = "import numpy as np\nfrom ragopt.benchmarks.measure import *\n"
    run = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=True
    )
    return [int(number) for number in run.stdout.split()]


def test_heap_shows_as_anonymous_and_goes_when_it_is_freed() -> None:
    before, held, after, file_growth = _in_fresh_process(
        f"""
before = memory()
block = np.ones({SIZE}, np.uint8)
held = memory()
del block
trim()
print(before.rss_anon, held.rss_anon, memory().rss_anon, held.rss_file - before.rss_file)
"""
    )
    assert abs(held - before - SIZE) < SLACK
    assert abs(after - before) < SLACK
    assert abs(file_growth) < SLACK


def test_a_mapped_file_shows_as_file_and_not_as_heap(tmp_path: Path) -> None:
    path = tmp_path / "mapped.bin"
    path.write_bytes(bytes(SIZE))
    anon, file = _in_fresh_process(
        f"""
before = memory()
int(np.memmap({str(path)!r}, mode="r")[::4096].sum())
mapping = np.memmap({str(path)!r}, mode="r")
int(mapping[::4096].sum())
now = memory()
print(now.rss_anon - before.rss_anon, now.rss_file - before.rss_file)
"""
    )
    assert abs(file - SIZE) < SLACK
    assert abs(anon) < SLACK


def test_trim_returns_many_small_freed_blocks() -> None:
    freed, trimmed, done = _in_fresh_process(
        """
blocks = [bytearray(1000) for _ in range(60_000)]
keep = blocks[-1]
del blocks
freed = memory().rss_anon
done = trim()
print(freed, memory().rss_anon, int(done))
"""
    )
    if not done:
        pytest.skip("this C library has no malloc_trim")
    assert trimmed < freed - 20 * MIB


def test_the_sampler_sees_a_peak_that_is_gone_again_and_forgets_an_earlier_one() -> None:
    rss, anon, before, after, reset = _in_fresh_process(
        f"""
import time
np.ones({3 * SIZE}, np.uint8)
with PeakSampler(interval_s=0.001) as sampler:
    block = np.ones({SIZE}, np.uint8)
    time.sleep(0.05)
    del block
peak = sampler.peak
print(peak.rss, peak.rss_anon, peak.before.rss_anon, memory().rss_anon, int(peak.reset))
"""
    )
    assert abs(anon - before - SIZE) < SLACK
    assert after < anon - SIZE + SLACK
    if reset:
        assert anon <= rss < anon + 2 * SIZE  # neither blind to the block nor fed by the old one


def test_a_peak_while_the_interpreter_is_blocked_is_in_the_total() -> None:
    rss, before, reset = _in_fresh_process(
        f"""
import ctypes
held = ctypes.PyDLL(None)  # calls keep the interpreter's lock: no thread samples meanwhile
held.malloc.restype = ctypes.c_void_p
held.malloc.argtypes = [ctypes.c_size_t]
held.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
held.free.argtypes = [ctypes.c_void_p]
with PeakSampler(interval_s=30) as sampler:
    place = held.malloc({SIZE})
    held.memset(place, 1, {SIZE})
    held.free(place)
print(sampler.peak.rss, sampler.peak.before.rss, int(sampler.peak.reset))
"""
    )
    if not reset:
        pytest.skip("the high-water mark cannot be reset here")
    assert rss - before > SIZE - SLACK


def test_another_process_is_watched_until_it_ends() -> None:
    code = f"import sys; x = bytearray({SIZE}); print(1, flush=True); sys.stdin.read(1)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        with PeakSampler(child.pid, interval_s=0.001) as sampler:
            child.stdout.readline()
            assert memory(child.pid).rss_anon > SIZE
            child.communicate(b"x")
    assert sampler.peak.rss_anon > SIZE
    assert sampler.peak.samples > 2


def test_the_peak_is_known_after_the_block_only() -> None:
    with PeakSampler() as sampler, pytest.raises(InputError, match="after the with block"):
        _ = sampler.peak
    assert sampler.peak.rss >= sampler.peak.rss_anon


def test_an_error_in_the_block_passes_and_the_thread_ends() -> None:
    sampler = PeakSampler()
    with pytest.raises(KeyError), sampler:
        raise KeyError
    assert sampler.peak.samples >= 2
    assert not sampler._thread.is_alive()


@pytest.mark.parametrize("interval", [0, -1, float("nan"), 61])
def test_intervals_out_of_range_are_refused(interval: float) -> None:
    with pytest.raises(InputError, match="interval_s"):
        PeakSampler(interval_s=interval)


def test_a_process_that_is_not_there_has_no_memory() -> None:
    with pytest.raises(Unmeasurable, match="999999999"):
        memory(999_999_999)


def test_a_process_that_has_ended_but_was_not_waited_for_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(Unmeasurable, match="has ended"):
            memory(child.pid)
    finally:
        child.wait()


def test_the_parts_add_up() -> None:
    now = memory()
    assert now.rss == now.rss_anon + now.rss_file + now.rss_shmem
    assert now.rss <= now.peak_rss * 1.05
    assert np.array([now.rss_anon, now.rss_file]).min() > 0
    assert trim() in (True, False)
