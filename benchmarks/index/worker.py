"""``python -m ragopt.benchmarks.index.worker JOB.json``: one phase of one candidate."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ragopt.benchmarks.index.answering import answer, cold, search, zipf
from ragopt.benchmarks.index.candidates import peer_of
from ragopt.benchmarks.index.job import Built, Job, load, read_json, write_json
from ragopt.benchmarks.index.peers.base import Peer
from ragopt.benchmarks.index.process import die_with
from ragopt.benchmarks.measure.memory import PeakSampler

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Do the job and write its outcome; an exception is the outcome of a failed one."""
    job = load(Job, read_json(arguments[0]))
    die_with(job.parent)
    sys.path.extend(path for path in job.path if path not in sys.path)
    _import(job.modules)
    peer = peer_of(job.target)
    write_json(job.out, _PHASES[job.phase](job, peer))
    return 0


def _build(job: Job, peer: Peer) -> Built:
    folder = Path(job.index)
    folder.mkdir(parents=True)
    rows = np.load(job.base, mmap_mode="r")
    with PeakSampler() as sampler:
        begin = perf_counter()
        peer.build(rows, folder, threads=job.threads, seed=job.seed)
        seconds = perf_counter() - begin
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Built(
        seconds=seconds,
        peak_rss=sampler.peak.rss,
        peak_rss_anon=sampler.peak.rss_anon,
        peak_rss_file=sampler.peak.rss_file,
        disk_bytes=size,
        threads=job.threads,
        modules=tuple(name for name in sys.modules if "__main__" not in name),
    )


def _import(modules: Sequence[str]) -> None:
    """Load what the candidate is known to import, so that its code is not billed as its index."""
    for name in modules:
        # What fails here will say so when it is really needed.
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            importlib.import_module(name)


_PHASES: dict[str, Callable[[Job, Peer], Any]] = {
    "build": _build,
    "search": search,
    "cold": cold,
    "zipf": zipf,
    "answer": answer,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
