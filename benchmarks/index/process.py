"""A worker in a process of its own: started, watched, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragopt.benchmarks.index.job import Job, read_json, write_json
from ragopt.errors import InputError, RagoptError

__all__ = ["CandidateFailed", "command", "die_with", "failure", "last_line", "run_job"]

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 1 << 14
_LONGEST_REASON = 300


class CandidateFailed(RagoptError):
    """A candidate crashed, hung or returned what cannot be read; the message is the reason."""


def run_job(
    job: Job, folder: Path, *, timeout_s: float, limit_bytes: int | None = None
) -> dict[str, Any]:
    """Run one phase in a fresh process and return what it wrote.

    The process leads a group of its own, all of which is killed when the time is up or this
    process is interrupted; it dies by itself when this process is killed.

    Args:
        job: what to do; ``job.out`` is where the outcome will stand.
        folder: for its files; also its working folder.
        timeout_s: after which it is killed.
        limit_bytes: of memory, the page cache of the index included; None for no limit.

    Raises:
        CandidateFailed: it failed; the message says how, with its last word.
    """
    Path(job.out).unlink(missing_ok=True)
    if limit_bytes is None:
        _run_free(job, folder, timeout_s)
    else:
        _run_limited(job, folder, timeout_s, limit_bytes)
    try:
        return read_json(job.out)
    except InputError as error:
        raise CandidateFailed(f"{job.phase}: ended without an outcome ({error})") from error


def _run_free(job: Job, folder: Path, timeout_s: float) -> None:
    errors = folder / f"{job.phase}.stderr"
    with errors.open("wb") as stderr, _worker(job, folder, stderr) as process:
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CandidateFailed(_too_long(job, timeout_s)) from None
    if code != 0:
        raise CandidateFailed(failure(job.phase, code, last_line(errors)))


def _run_limited(job: Job, folder: Path, timeout_s: float, limit_bytes: int) -> None:
    from ragopt.benchmarks.measure.limit import run_limited
    from ragopt.benchmarks.measure.support import Unmeasurable

    try:
        outcome = run_limited(
            command(job, folder), limit_bytes, timeout_s, cold=[job.index], cwd=folder
        )
    except Unmeasurable as error:
        raise CandidateFailed(f"{job.phase}: {error}") from error
    if outcome.oom_killed:
        raise CandidateFailed(f"{job.phase}: out of memory under a hard limit of {limit_bytes:,} B")
    if outcome.timed_out:
        raise CandidateFailed(_too_long(job, timeout_s))
    if not outcome.ok:
        said = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
        last = said[-1][:_LONGEST_REASON] if said else ""
        raise CandidateFailed(failure(job.phase, outcome.returncode, last))


def _too_long(job: Job, timeout_s: float) -> str:
    return f"{job.phase}: still at it after {timeout_s:g} s, killed"


def command(job: Job, folder: Path) -> list[str]:
    """Write the job and return the command that does it."""
    path = folder / f"{job.phase}.job.json"
    write_json(path, job)
    return [sys.executable, "-m", "ragopt.benchmarks.index.worker", str(path)]


@contextlib.contextmanager
def _worker(job: Job, folder: Path, stderr: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - our own module
        command(job, folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def die_with(parent: int) -> None:
    """Called by a worker: be killed when the process that started it is gone, however it went."""
    if sys.platform == "linux":
        from ragopt.benchmarks.measure.support import libc

        libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if hasattr(os, "getppid") and os.getppid() != parent:  # it went before that was asked for
        raise SystemExit(f"the process {parent} that started this worker is gone")


def failure(phase: str, code: int, last: str) -> str:
    """How a worker ended, in words, with the last line it wrote."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        how = f"killed by {name}"
        if -code == signal.SIGKILL:
            how += " (from outside: most often the system was out of memory)"
    else:
        how = f"exit status {code}"
    return f"{phase}: {how}" + (f": {last}" if last else "")


def last_line(path: Path) -> str:
    """The last line of a file that says something; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:_LONGEST_REASON] if said else ""
