"""What a worker process is told, and what it tells: JSON files, read and written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ragopt.errors import InputError
from ragopt.storage import atomic_write

__all__ = [
    "Built",
    "ColdBlock",
    "Job",
    "Pass",
    "Phase",
    "Searched",
    "SweepPoint",
    "ZipfRun",
    "load",
    "read_json",
    "write_json",
]

Phase = Literal["build", "search", "cold", "zipf", "answer"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One phase of one candidate. It names what the phase needs and nothing else.

    Args:
        phase: what to do.
        target: which candidate; see `ragopt.benchmarks.index.candidates.peer_of`.
        index: folder of the index; empty before the build.
        count: rows of the base.
        dim: of a row.
        k: results a query.
        out: file for the outcome.
        threads: of builds and batches.
        seed: of the build.
        parent: process to die with.
        path: import path of the parent, so that the same modules are found.
        base: ``.npy`` of the rows; for the build alone.
        report: ``.npy`` of queries that are timed.
        tuning: ``.npy`` of queries that are only answered.
        answers: ``.npz`` to put ids in.
        values: of the knob, cheapest first.
        passes: timed over the queries.
        seconds: aimed at.
        modules: imported before memory is first looked at, so that they are not billed.
    """

    phase: Phase
    target: str
    index: str
    count: int
    dim: int
    k: int
    out: str
    threads: int = 1
    seed: int = 0
    parent: int = 0
    path: tuple[str, ...] = ()
    base: str = ""
    report: str = ""
    tuning: str = ""
    answers: str = ""
    values: tuple[int, ...] = ()
    passes: int = 1
    seconds: float = 0.0
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Outcome of a build.

    Args:
        seconds: wall time of build and save.
        peak_rss: largest resident size, the library's code included.
        peak_rss_anon: largest part of it that is heap.
        peak_rss_file: largest part of it that is mapped files, the given rows included.
        disk_bytes: of the files it left.
        threads: it was allowed.
        modules: that were imported on the way.
    """

    seconds: float
    peak_rss: int
    peak_rss_anon: int
    peak_rss_file: int
    disk_bytes: int
    threads: int
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One time through the queries.

    Args:
        qps: queries over the sum of their times.
        p50_ms: median of the times.
        p99_ms: of the times.
    """

    qps: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """Outcome at one knob value.

    Args:
        value: of the knob.
        timed: queries in each pass; fewer than there are where the candidate is slow.
        warm_up: the pass before the timed ones, over all queries.
        passes: the timed ones, one query at a time on one core.
        batch_qps: of all queries in one call on all threads, one figure a pass.
        changed: queries whose ids were others in the last timed pass than in the warm-up.
        cpu_ratio: processor seconds over wall seconds in the timed passes.
        rss_anon: of the process after all this.
        rss_file: likewise.
        rss_index: part of the latter that is files of the index; the rest is code.
        read_rounds: dependent read rounds a query as the library states them; None if it does not.
    """

    value: int
    timed: int
    warm_up: Pass
    passes: tuple[Pass, ...]
    batch_qps: tuple[float, ...]
    changed: int
    cpu_ratio: float
    rss_anon: int
    rss_file: int
    rss_index: int
    read_rounds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """Outcome of a sweep. Ids stand in a file: ``report``, ``batch`` and ``tuning`` by value.

    Args:
        report_hash: of the queries that were timed.
        tuning_hash: of those that were only answered.
        open_s: to open the index, warm.
        rss_anon_before: of the process with all imports and buffers, before the index was opened.
        rss_file_before: likewise.
        points: cheapest first.
        skipped: values that there was no time for.
        pinned: whether one-thread passes were held to one core.
        trimmed: whether freed heap was given back before memory was looked at.
    """

    report_hash: str
    tuning_hash: str
    open_s: float
    rss_anon_before: int
    rss_file_before: int
    points: tuple[SweepPoint, ...]
    skipped: tuple[int, ...]
    pinned: bool
    trimmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdBlock:
    """Outcome of unseen queries after the page cache was dropped.

    Args:
        queries_hash: of the queries.
        method: how the cache was dropped.
        resident_ratio: of the index's pages that stayed.
        open_ms: to open the index.
        open_bytes: read from the device while opening.
        ms: of each query.
        read_bytes: from the device, by all the queries.
        major_faults: of all the queries.
    """

    queries_hash: str
    method: str
    resident_ratio: float
    open_ms: float
    open_bytes: int
    ms: tuple[float, ...]
    read_bytes: int
    major_faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipfRun:
    """Outcome of a stream of repeating queries that began with a dropped page cache.

    Args:
        queries_hash: of the stream.
        method: how the cache was dropped.
        resident_ratio: of the index's pages that stayed.
        ms: of each request that was answered before the time was up.
        read_bytes: from the device, by all of them.
    """

    queries_hash: str
    method: str
    resident_ratio: float
    ms: tuple[float, ...]
    read_bytes: int


def write_json(path: Path | str, content: Any) -> None:
    """Write a dataclass or a mapping, atomically."""
    fields_of = dict(content) if isinstance(content, Mapping) else asdict(content)
    atomic_write(Path(path), json.dumps(fields_of, indent=1).encode())


def read_json(path: Path | str) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        InputError: no such file, or not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: got a {type(content).__name__}, expected an object")
    return content


def load(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass of this module from its JSON.

    Raises:
        InputError: fields are missing or unknown.
    """
    nested = {"warm_up": Pass}
    lists = {"passes": Pass, "points": SweepPoint}
    known: dict[str, Any] = {}
    for name, value in content.items():
        if name in nested:
            known[name] = load(nested[name], value)
        elif name in lists and not isinstance(value, int):
            known[name] = tuple(load(lists[name], item) for item in value)
        else:
            known[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**known)
    except TypeError as error:
        expected = [each.name for each in fields(kind)]  # type: ignore[arg-type]
        raise InputError(f"not a {kind.__name__}: {error}; expected {expected}") from error
