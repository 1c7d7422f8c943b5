"""Hard memory limits: they kill, they count the page cache, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.benchmarks.measure import (
    MemoryLimit,
    Unmeasurable,
    cgroups,
    run_limited,
    smallest_limit,
)
from ragopt.errors import FloorNotMet, InputError

MIB = 1 << 20
REASON = MemoryLimit.available()
allowed = pytest.mark.skipif(bool(REASON), reason=REASON or "limits can be set here")


def _groups(owner: int | None = None) -> list[Path]:
    """Groups that a process made; this one by default."""
    pattern = f"{cgroups.PREFIX}-{owner or os.getpid()}-*"
    return list(cgroups.find_parent().path.glob(pattern))


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@allowed
def test_a_command_within_its_limit_runs_as_usual() -> None:
    code = (
        f"x = bytearray({30 * MIB}); import os, sys; print(os.getcwd(), os.environ['A']);"
        "sys.stderr.write('e')"
    )
    outcome = run_limited(_python(code), 96 * MIB, 30, env={"A": "b"}, cwd="/")
    assert (outcome.ok, outcome.returncode, outcome.oom_killed) == (True, 0, False)
    assert (outcome.stdout, outcome.stderr) == ("/ b\n", "e")
    assert outcome.peak_bytes is None or 30 * MIB <= outcome.peak_bytes <= 96 * MIB
    assert _groups() == []


@allowed
def test_a_command_above_its_limit_is_killed_and_said_to_be() -> None:
    outcome = run_limited(_python(f"x = bytearray({200 * MIB}); print('done')"), 64 * MIB, 30)
    assert outcome.oom_killed
    assert not outcome.ok
    assert "done" not in outcome.stdout
    assert outcome.returncode == -signal.SIGKILL
    assert _groups() == []


@allowed
def test_a_child_that_is_killed_spoils_the_outcome_of_its_parent() -> None:
    child = f"x = bytearray({200 * MIB})"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{child}'])"
    outcome = run_limited(_python(code), 64 * MIB, 30)
    assert outcome.oom_killed
    assert not outcome.ok


@allowed
def test_address_space_without_memory_is_free() -> None:
    code = f"import mmap; m = mmap.mmap(-1, {4 << 30}, flags=mmap.MAP_PRIVATE); print('done')"
    assert run_limited(_python(code), 64 * MIB, 30).ok


@allowed
def test_a_failure_of_the_command_itself_is_no_want_of_memory() -> None:
    outcome = run_limited(_python("import sys; sys.exit(3)"), 64 * MIB, 30)
    assert (outcome.ok, outcome.oom_killed, outcome.returncode) == (False, False, 3)


@allowed
def test_time_runs_out_for_the_command_and_all_its_children() -> None:
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        "start_new_session=True); print(p.pid, flush=True); time.sleep(60)"
    )
    begin = time.monotonic()
    outcome = run_limited(_python(code), 96 * MIB, 1.5)
    assert time.monotonic() - begin < 30
    assert outcome.timed_out
    assert not outcome.ok
    assert not outcome.oom_killed
    assert not Path(f"/proc/{int(outcome.stdout)}/exe").exists()  # a zombie's does not
    assert _groups() == []


@allowed
def test_cold_files_are_billed_and_given_back_under_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(96 * MIB))
    code = f"f = open({str(path)!r}, 'rb')\nwhile f.read({MIB}): pass"
    try:
        outcome = run_limited(_python(code), 48 * MIB, 60, cold=[path])
    except Unmeasurable as error:
        pytest.skip(str(error))
    assert outcome.ok  # twice its limit passes through the page cache
    assert outcome.cache is not None
    assert outcome.cache.cold
    if outcome.peak_bytes is not None:
        assert outcome.peak_bytes > 40 * MIB


@allowed
def test_files_that_stay_warm_are_refused_since_they_would_be_free() -> None:
    path = Path(f"/dev/shm/ragopt-test-{os.getpid()}")
    if not path.parent.is_dir():
        pytest.skip("no /dev/shm")
    path.write_bytes(bytes(MIB))
    try:
        with pytest.raises(Unmeasurable, match="free for the command"):
            run_limited(_python("print('started')"), 64 * MIB, 30, cold=[path])
    finally:
        path.unlink()
    assert _groups() == []


@allowed
def test_what_a_killed_run_leaves_behind_goes_at_the_next_start() -> None:
    code = (
        "import sys\nfrom ragopt.benchmarks.measure import run_limited\n"
        f"run_limited([sys.executable, '-c', 'import time; time.sleep(60)'], {64 * MIB}, 60)"
    )
    owner = subprocess.Popen(_python(code))
    end = time.monotonic() + 30
    while not any(cgroups.Group(path, 1).pids() for path in _groups(owner.pid)):
        assert time.monotonic() < end
        time.sleep(0.02)
    (left,) = _groups(owner.pid)
    owner.kill()
    owner.wait()
    orphans = cgroups.Group(left, 1).pids()
    assert orphans  # the limited command outlives its owner
    assert run_limited(_python("pass"), 64 * MIB, 30).ok
    assert not left.exists()
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in orphans)


@allowed
def test_a_group_whose_owner_lives_is_left_alone() -> None:
    with cgroups.new_group(cgroups.find_parent(), 64 * MIB) as group:
        cgroups.remove_stale(cgroups.find_parent())
        assert run_limited(_python("pass"), 64 * MIB, 30).ok
        assert group.path.is_dir()
    assert not group.path.exists()


@allowed
def test_an_error_within_removes_the_group() -> None:
    with pytest.raises(KeyError), cgroups.new_group(cgroups.find_parent(), 64 * MIB):
        raise KeyError
    assert _groups() == []


@allowed
def test_the_smallest_limit_of_a_real_command_is_near_what_it_allocates() -> None:
    def works(limit: int) -> bool:
        return run_limited(_python(f"x = bytearray({80 * MIB})"), limit, 30).ok

    found = smallest_limit(works, 16 * MIB, 256 * MIB, tolerance=0.15)
    assert 80 * MIB < found.size_bytes < 120 * MIB
    assert found.fails_bytes is not None
    assert not works(found.fails_bytes * 9 // 10)


@pytest.mark.parametrize("limit", [0, -1, MIB - 1, True])
def test_limits_with_which_nothing_starts_are_refused(limit: int) -> None:
    with pytest.raises(InputError, match="1 MiB"):
        run_limited(["true"], limit, 1)


def test_no_command_no_time_and_unknown_commands_are_refused() -> None:
    for argv, timeout in (([], 1.0), (["true"], 0.0), (["true"], float("inf"))):
        with pytest.raises(InputError, match="expected a command"):
            run_limited(argv, 64 * MIB, timeout)
    with pytest.raises(InputError, match="no such command"):
        run_limited(["no-such-command-at-all"], 64 * MIB, 1)


@given(need=st.integers(1, 10**9), low=st.integers(1, 10**8), tolerance=st.floats(0.001, 0.5))
def test_bisection_ends_between_a_failure_and_a_success(
    need: int, low: int, tolerance: float
) -> None:
    high = max(low, 10**9)
    found = smallest_limit(lambda limit: limit >= need, low, high, tolerance=tolerance)
    assert found.size_bytes >= need
    if found.fails_bytes is None:
        assert found.size_bytes == low
    else:
        assert found.fails_bytes < need
        step = max(1.0, tolerance * found.fails_bytes)
        assert found.size_bytes - found.fails_bytes <= step
    assert len(found.tried) == len(dict(found.tried)) <= 64


def test_what_never_works_has_no_smallest_limit() -> None:
    with pytest.raises(FloorNotMet, match="raise high"):
        smallest_limit(lambda _: False, 1, 100)
    for low, high, tolerance in ((0, 1, 0.1), (2, 1, 0.1), (1, 2, 0.0), (1, 2, float("nan"))):
        with pytest.raises(InputError, match="tolerance"):
            smallest_limit(lambda _: True, low, high, tolerance=tolerance)


def _tree(top: Path, controllers: dict[str, str]) -> None:
    for name, handed_down in controllers.items():
        (top / name).mkdir(parents=True, exist_ok=True)
        (top / name / "cgroup.subtree_control").write_text(handed_down)
        (top / name / "cgroup.procs").touch()


def test_version_2_takes_the_nearest_group_that_hands_memory_down(tmp_path: Path) -> None:
    """Only the choice: the files of a hierarchy, which need no kernel to be read."""
    _tree(tmp_path, {".": "cpu memory", "a": "cpu memory pids", "a/b": "cpu", "a/b/c": ""})
    found = cgroups.parent_v2(tmp_path / "a/b/c", tmp_path)
    assert (found.path, found.version) == (tmp_path / "a", 2)


def test_version_2_never_leaves_a_limit_that_this_process_is_under(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "memory", "a": ""})
    (tmp_path / "a" / "memory.max").write_text("1000000\n")
    with pytest.raises(Unmeasurable, match="free of that limit"):
        cgroups.parent_v2(tmp_path / "a", tmp_path)
    (tmp_path / "a" / "memory.max").write_text("max\n")
    assert cgroups.parent_v2(tmp_path / "a", tmp_path).path == tmp_path


def test_version_2_without_a_controller_says_so(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "cpu", "a": "cpu"})
    with pytest.raises(Unmeasurable, match="systemd-run"):
        cgroups.parent_v2(tmp_path / "a", tmp_path)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to give it up")
def test_without_the_right_the_reason_is_given_and_no_substitute_used() -> None:
    code = (
        "import os\nfrom ragopt.benchmarks.measure import MemoryLimit, run_limited, Unmeasurable\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(MemoryLimit.available())\n"
        "try: run_limited(['true'], 1 << 26, 5)\n"
        "except Unmeasurable as error: print('refused')"
    )
    run = subprocess.run(_python(code), capture_output=True, text=True, check=True)
    assert "refused" in run.stdout
    assert run.stdout.startswith("a hard memory limit")
