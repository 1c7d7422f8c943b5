"""Running a command under a hard memory limit, and finding the smallest one that it bears.

The limit is a control group's: heap, stacks, page cache and kernel memory of all its processes,
swap included. A limit on the address space (``RLIMIT_AS``) is no substitute, since it counts
mapped files that use no memory: where control groups cannot be used, `Unmeasurable` says why.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragopt.benchmarks.measure.cgroups import Group, Parent, find_parent, new_group, remove_stale
from ragopt.benchmarks.measure.page_cache import CacheState, drop
from ragopt.benchmarks.measure.support import Unmeasurable
from ragopt.errors import FloorNotMet, InputError

__all__ = ["MemoryLimit", "Outcome", "SmallestLimit", "run_limited", "smallest_limit"]

SMALLEST_BYTES = 1 << 20
_PATIENCE_S = 5.0
_ENTER = 'echo 0 > "$0/cgroup.procs" && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command fared under its limit.

    Args:
        ok: it ended by itself with status 0, and nothing was killed for want of memory.
        oom_killed: the kernel killed one of its processes for want of memory.
        timed_out: it was still running when its time was up, and was killed.
        peak_bytes: largest use, page cache included, so that it may touch the limit without
            harm; None where the kernel does not tell.
        returncode: of the command; negative for the signal that ended it.
        stdout: what it wrote.
        stderr: likewise.
        cache: state of the files that were to be cold, before the start; None if there were none.
    """

    ok: bool
    oom_killed: bool
    timed_out: bool
    peak_bytes: int | None
    returncode: int
    stdout: str
    stderr: str
    cache: CacheState | None = None


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A hard limit in bytes of memory and swap together.

    Raises:
        InputError: below 1 MiB, with which nothing starts.
    """

    size_bytes: int

    def __post_init__(self) -> None:
        if isinstance(self.size_bytes, bool) or self.size_bytes < SMALLEST_BYTES:
            raise InputError(
                f"limit of {self.size_bytes!r} B: expected at least {SMALLEST_BYTES:,} B (1 MiB)"
            )

    @staticmethod
    def available() -> str:
        """Empty where limits can be set here, else the reason why not."""
        try:
            with _group(SMALLEST_BYTES << 6) as group:
                group.out_of_memory()
        except Unmeasurable as error:
            return str(error)
        return ""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        cold: Sequence[Path | str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> Outcome:
        """Run a command under the limit; see `run_limited`."""
        return run_limited(argv, self.size_bytes, timeout_s, cold=cold, env=env, cwd=cwd)


def run_limited(
    argv: Sequence[str],
    limit_bytes: int,
    timeout_s: float,
    *,
    cold: Sequence[Path | str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
) -> Outcome:
    """Run a command under a hard memory limit; all its processes are gone afterwards.

    The kernel bills a page of a file to whoever read it first. A file that is in the page cache
    already would be free for the command, so name the files it rests on in ``cold``.

    Args:
        argv: the command and its arguments, no shell.
        limit_bytes: of memory and swap together, at least 1 MiB.
        timeout_s: wall time after which it is killed, above 0.
        cold: files or folders to throw out of the page cache before the start.
        env: of the command; this process's by default.
        cwd: likewise.

    Raises:
        InputError: no command, or figures out of range.
        Unmeasurable: limits cannot be set here, or the files could not be made cold; the message
            says why.
    """
    limit = MemoryLimit(limit_bytes)
    if not argv or not 0 < timeout_s < math.inf:
        raise InputError(
            f"argv={list(argv)}, timeout_s={timeout_s}: expected a command and seconds above 0"
        )
    if shutil.which(argv[0]) is None:
        raise InputError(f"{argv[0]}: no such command; expected one that can be run")
    with _group(limit.size_bytes) as group:
        cache = _made_cold(cold)
        process = subprocess.Popen(  # noqa: S603 - running the caller's command is the purpose
            ["/bin/sh", "-c", _ENTER, str(group.path), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        with process:
            stdout, stderr, timed_out = _awaited(process, group, timeout_s)
        killed, peak = group.out_of_memory() > 0, group.peak_bytes()
        if peak == 0:
            raise Unmeasurable(
                f"the command could not be put under its limit: {stderr.decode(errors='replace')}"
            )
        return Outcome(
            ok=process.returncode == 0 and not killed and not timed_out,
            oom_killed=killed,
            timed_out=timed_out,
            peak_bytes=peak,
            returncode=process.returncode,
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
            cache=cache,
        )


@contextlib.contextmanager
def _group(size_bytes: int) -> Iterator[Group]:
    parent: Parent = find_parent()
    remove_stale(parent)
    with new_group(parent, size_bytes) as group:
        yield group


def _made_cold(paths: Sequence[Path | str]) -> CacheState | None:
    if not paths:
        return None
    state = drop(paths)
    if not state.cold:
        raise Unmeasurable(
            f"{state.resident_ratio:.0%} of the pages of {[str(path) for path in paths]} stay in "
            f"the page cache (tried: {state.method}) and would be free for the command; close "
            "what has them mapped, or keep them on another file system"
        )
    return state


def _awaited(
    process: subprocess.Popen[bytes], group: Group, timeout_s: float
) -> tuple[bytes, bytes, bool]:
    """Output and whether time ran out; whatever happens, nothing of it runs on."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process, group)
        stdout, stderr = process.communicate()
        return stdout, stderr, True
    except BaseException:
        _kill(process, group)
        raise
    return stdout, stderr, False


def _kill(process: subprocess.Popen[bytes], group: Group) -> None:
    process.kill()  # it may not have entered the group yet
    end = time.monotonic() + _PATIENCE_S
    while group.pids() and time.monotonic() < end:  # they may fork as fast as they are killed
        group.kill()


@dataclass(frozen=True, slots=True)
class SmallestLimit:
    """Result of `smallest_limit`.

    Args:
        size_bytes: smallest limit that was tried and worked.
        fails_bytes: largest that was tried below it and did not; None if ``low`` worked.
        tried: every limit in the order it was tried, and whether it worked.
    """

    size_bytes: int
    fails_bytes: int | None
    tried: tuple[tuple[int, bool], ...]


def smallest_limit(
    works: Callable[[int], bool], low: int, high: int, *, tolerance: float = 0.05
) -> SmallestLimit:
    """Find by bisection the smallest limit under which something still works.

    Args:
        works: tries one limit in bytes; expected to work above some limit and fail below.
        low: smallest limit of interest, at least 1.
        high: largest, at least ``low``.
        tolerance: the result is at most this share above a limit that fails; above 0.

    Raises:
        InputError: limits or tolerance out of range.
        FloorNotMet: it does not even work under ``high``.
    """
    if not 1 <= low <= high or not 0 < tolerance < math.inf:
        raise InputError(
            f"low={low}, high={high}, tolerance={tolerance}: expected 1 <= low <= high and a "
            "tolerance above 0"
        )
    tried: dict[int, bool] = {}

    def check(limit: int) -> bool:
        tried[limit] = bool(works(limit))
        return tried[limit]

    if not check(high):
        raise FloorNotMet(f"it does not work under {high:,} B, the largest limit; raise high")
    if low == high or check(low):
        return SmallestLimit(low, None, tuple(tried.items()))
    fails, fits = low, high
    while fits - fails > max(1.0, tolerance * fails):
        middle = min(max(round(math.sqrt(fails * fits)), fails + 1), fits - 1)
        if check(middle):
            fits = middle
        else:
            fails = middle
    return SmallestLimit(fits, fails, tuple(tried.items()))
