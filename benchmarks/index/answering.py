"""The searching phases of a worker: warm sweep, cold blocks, Zipf stream, a few answers.

A query is handed over as an array of its own, so that no candidate sees those that follow, and
every pass asks it at another length (by less than a thousandth), so that no cache of results can
answer.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import numpy as np

from ragopt.benchmarks.index.job import ColdBlock, Job, Pass, Searched, SweepPoint, ZipfRun
from ragopt.benchmarks.index.peers.base import Ids, Peer, Vectors
from ragopt.benchmarks.index.peers.threads import held_to_cores
from ragopt.benchmarks.measure.disk_io import reading
from ragopt.benchmarks.measure.latency import Latencies, timed
from ragopt.benchmarks.measure.memory import Memory, memory, trim
from ragopt.benchmarks.measure.page_cache import CacheState, drop
from ragopt.benchmarks.measure.support import read_kernel_file
from ragopt.errors import InputError
from ragopt.quality import data_hash

__all__ = ["answer", "cold", "search", "zipf"]

_FEWEST_TIMED = 100
_OVERDRAFT = 3.0  # a sweep that would take this many times its seconds tries fewer values
_SCALE_STEP = 2.0**-18
_WAKING = 8
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")


def search(job: Job, peer: Peer) -> Searched:
    """Sweep the knob: ids of all queries, timed passes, batches; memory at each value."""
    sweep = _Sweep.of(job, peer)
    sweep.rehearse()
    peer.load_library(job.dim)
    trimmed = _settle()
    before = memory()
    begin = perf_counter()
    peer.open(Path(job.index), count=job.count, dim=job.dim)
    open_s = perf_counter() - begin
    sweep.wake()
    points: list[SweepPoint] = []
    started, left = perf_counter(), job.values
    while left:
        before_s = perf_counter() - started
        rest = max(job.seconds - before_s, job.seconds / len(job.values))
        points.append(sweep.point(len(points), left[0], rest / len(left)))
        elapsed = perf_counter() - started
        left = thinned(left[1:], _OVERDRAFT * job.seconds - elapsed, elapsed - before_s)
    peer.close()
    sweep.save(Path(job.answers), len(points))
    return Searched(
        report_hash=data_hash(sweep.report),
        tuning_hash=data_hash(sweep.tuning),
        open_s=open_s,
        rss_anon_before=before.rss_anon,
        rss_file_before=before.rss_file,
        points=tuple(points),
        skipped=tuple(sorted(set(job.values) - {point.value for point in points})),
        pinned=hasattr(os, "sched_setaffinity"),
        trimmed=trimmed,
    )


def thinned(values: tuple[int, ...], seconds: float, each_s: float) -> tuple[int, ...]:
    """As many values as there is time for, evenly spread; always the dearest, which certifies."""
    count = min(len(values), max(1, int(seconds / each_s)))
    if not values:
        return ()
    return tuple(values[-(-(place + 1) * len(values) // count) - 1] for place in range(count))


def cold(job: Job, peer: Peer) -> ColdBlock:
    """Drop the page cache, open, and time queries that were never asked before."""
    queries = np.load(job.report)
    ids = np.full((len(queries), job.k), -1, dtype=np.int64)
    peer.load_library(job.dim)
    state = _drop(job)
    with reading() as opening:
        begin = perf_counter()
        peer.open(Path(job.index), count=job.count, dim=job.dim)
        open_ms = (perf_counter() - begin) * 1e3
    with held_to_cores(1), reading() as searching:
        times = timed(_calls(peer, queries, job), keep=_keep(ids))
    peer.close()
    np.savez(job.answers, report=ids)
    return ColdBlock(
        queries_hash=data_hash(queries),
        method=state.method,
        resident_ratio=state.resident_ratio,
        open_ms=open_ms,
        open_bytes=opening.size_bytes,
        ms=_in_ms(times),
        read_bytes=searching.size_bytes,
        major_faults=searching.faults,
    )


def zipf(job: Job, peer: Peer) -> ZipfRun:
    """Drop the page cache, open, and replay a stream of repeating queries."""
    stream = np.load(job.report)
    ids = np.full((len(stream), job.k), -1, dtype=np.int64)
    peer.load_library(job.dim)
    state = _drop(job)
    peer.open(Path(job.index), count=job.count, dim=job.dim)
    until = perf_counter() + job.seconds
    rows = (query * _scale(place) for place, query in enumerate(stream))
    with held_to_cores(1), reading() as searching:
        times = timed(_until(until, _calls(peer, rows, job)), keep=_keep(ids))
    peer.close()
    np.savez(job.answers, report=ids[: times.count])
    return ZipfRun(
        queries_hash=data_hash(stream),
        method=state.method,
        resident_ratio=state.resident_ratio,
        ms=_in_ms(times),
        read_bytes=searching.size_bytes,
    )


def answer(job: Job, peer: Peer) -> dict[str, Any]:
    """Open and answer, to see whether it still can; nothing is timed."""
    queries = np.load(job.report)
    ids = np.full((len(queries), job.k), -1, dtype=np.int64)
    peer.open(Path(job.index), count=job.count, dim=job.dim)
    for place, call in enumerate(_calls(peer, queries, job)):
        _keep(ids)(place, call())
    held = memory()
    peer.close()
    np.savez(job.answers, report=ids)
    return {"queries_hash": data_hash(queries), "peak_rss": held.peak_rss}


@dataclass(slots=True, eq=False)
class _Sweep:
    """Queries, and room for all that a sweep returns, made before memory is first looked at."""

    job: Job
    peer: _Searching
    report: Vectors
    tuning: Vectors
    warm: Ids
    timed: Ids
    batch: Ids
    tuned: Ids

    @classmethod
    def of(cls, job: Job, peer: Peer) -> _Sweep:
        report, tuning = np.load(job.report), np.load(job.tuning)
        shape = (len(job.values), len(report), job.k)
        return cls(
            job=job,
            peer=peer,
            report=report,
            tuning=tuning,
            # Filled, so that the pages are there and are not billed to the index.
            warm=np.full(shape, -1, dtype=np.int64),
            timed=np.full(shape, -1, dtype=np.int64),
            batch=np.full(shape, -1, dtype=np.int64),
            tuned=np.full((len(job.values), len(tuning), job.k), -1, dtype=np.int64),
        )

    def rehearse(self) -> None:
        """Run loop and statistics once without the index: their own memory is there then."""
        with held_to_cores(1):
            stand_in = _Sweep(
                job=self.job,
                peer=_Rehearsal(),
                report=self.report,
                tuning=self.tuning,
                warm=self.warm,
                timed=self.timed,
                batch=self.batch,
                tuned=self.tuned,
            )
            stand_in.point(0, 0, 60.0)

    def wake(self) -> None:
        """Let the library start its threads as on a server: within one core it may make one."""
        few = self.tuning[:_WAKING].copy()
        self.peer.search(few, self.job.k, value=self.job.values[0], threads=self.job.threads)

    def point(self, number: int, value: int, seconds: float) -> SweepPoint:
        """All there is to know at one value, in about these seconds."""
        everything = len(self.report)
        with held_to_cores(1):
            warm_up = self._pass(value, self.warm[number], 0, everything)
            plan = _Plan.of(everything, warm_up, seconds, self.job.passes)
            self.timed[number] = self.warm[number]
            cpu, wall = process_time(), perf_counter()
            turns = range(1, plan.passes + 1)
            done = [self._pass(value, self.timed[number], turn, plan.queries) for turn in turns]
            ratio = (process_time() - cpu) / max(perf_counter() - wall, 1e-9)
        rates = [self._batch(number, value, turn) for turn in range(plan.batches)]
        self.tuned[number] = _checked(
            self.peer.search(self.tuning.copy(), self.job.k, value=value, threads=self.job.threads),
            (len(self.tuning), self.job.k),
        )
        _settle()
        held: Memory = memory()
        changed = (self.warm[number] != self.timed[number]).any(axis=1)
        return SweepPoint(
            value=value,
            timed=plan.queries,
            warm_up=warm_up,
            passes=tuple(done),
            batch_qps=tuple(rates),
            changed=int(changed.sum()),
            cpu_ratio=ratio,
            rss_anon=held.rss_anon,
            rss_file=held.rss_file,
            rss_index=_mapped_bytes(Path(self.job.index)),
            read_rounds=self.peer.read_rounds(value),
        )

    def save(self, path: Path, points: int) -> None:
        """Put the ids where the parent judges them."""
        np.savez(
            path,
            report=self.timed[:points],
            batch=self.batch[:points],
            tuning=self.tuned[:points],
        )

    def _pass(self, value: int, ids: Ids, turn: int, count: int) -> Pass:
        scale = _scale(turn)
        rows = (query * scale for query in self.report[:count])
        return _pass_of(timed(_calls(self.peer, rows, self.job, value), keep=_keep(ids)))

    def _batch(self, number: int, value: int, turn: int) -> float:
        queries = self.report * _scale(turn)
        begin = perf_counter()
        found = self.peer.search(queries, self.job.k, value=value, threads=self.job.threads)
        seconds = perf_counter() - begin
        self.batch[number] = _checked(found, self.batch[number].shape)
        return len(queries) / seconds


class _Searching(Protocol):
    """What a sweep needs of a peer."""

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids: ...
    def read_rounds(self, value: int) -> float | None: ...


class _Rehearsal:
    """A search that finds nothing and takes no memory."""

    def search(self, queries: Vectors, k: int, *, value: int, threads: int) -> Ids:  # noqa: ARG002
        return np.full((len(queries), k), -1, dtype=np.int64)

    def read_rounds(self, value: int) -> float | None:  # noqa: ARG002
        return 0.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many queries to time, how often, and how many batches, at one value."""

    queries: int
    passes: int
    batches: int

    @classmethod
    def of(cls, queries: int, warm_up: Pass, seconds: float, passes: int) -> _Plan:
        """What these seconds allow, when a warm-up over all queries went at this rate."""
        one_pass = queries / warm_up.qps
        # The warm-up is spent; batches and the tuning queries cost about another pass.
        rest = max(seconds - 2 * one_pass, 0.0)
        if one_pass * passes <= rest:
            return cls(queries, passes, passes)
        count = int(queries * rest / (one_pass * passes))
        return cls(min(queries, max(_FEWEST_TIMED, count)), passes if rest else 1, 1)


def _calls(
    peer: _Searching, queries: Iterable[Vectors], job: Job, value: int | None = None
) -> Iterator[Callable[[], Ids]]:
    """Searches for one query each, in an array of its own."""
    knob = job.values[0] if value is None else value
    for query in queries:
        yield partial(peer.search, query[None].copy(), job.k, value=knob, threads=1)


def _until(moment: float, calls: Iterator[Callable[[], Ids]]) -> Iterator[Callable[[], Ids]]:
    """Calls until the time is up; the first in any case."""
    yield next(calls)
    for call in calls:
        if perf_counter() > moment:
            return
        yield call


def _keep(ids: Ids) -> Callable[[int, Any], None]:
    def keep(place: int, found: Any) -> None:
        ids[place] = _checked(found, (1, ids.shape[1]))

    return keep


def _in_ms(times: Latencies) -> tuple[float, ...]:
    return tuple(round(float(each) / 1e6, 4) for each in times.nanoseconds)


def _pass_of(times: Latencies) -> Pass:
    return Pass(qps=times.qps, p50_ms=times.p50_ms, p99_ms=times.p99_ms)


def _checked(found: Any, shape: tuple[int, ...]) -> Ids:
    ids = np.asarray(found)
    if ids.shape != shape or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(
            f"search returned {type(found).__name__} of shape {ids.shape} and dtype {ids.dtype}; "
            f"expected ids of shape {shape} and dtype int64"
        )
    return ids.astype(np.int64, copy=False)


def _scale(turn: int) -> np.float32:
    scale: np.float32 = np.float32(1.0 - (turn % 64) * _SCALE_STEP)
    return scale


def _drop(job: Job) -> CacheState:
    """Make the index cold; the cached files of other programs are left alone where that does."""
    state = drop([job.index], whole_machine=False)
    return state if state.cold else drop([job.index])


def _mapped_bytes(folder: Path) -> int:
    """Bytes of files below a folder that this process has mapped and in RAM."""
    inside, total = False, 0
    for line in read_kernel_file("/proc/self/smaps", "memory by file").splitlines():
        if line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024 if inside else 0
        elif _MAPPING.match(line):
            inside = f" {folder}{os.sep}" in line
    return total


def _settle() -> bool:
    gc.collect()
    return trim()
