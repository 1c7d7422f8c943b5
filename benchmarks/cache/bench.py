"""The cache bench: hits and wrong hits of every policy, and what a look-up costs."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.benchmarks.cache import latency
from ragopt.benchmarks.cache.figures import pack
from ragopt.benchmarks.cache.material import Material, prepare
from ragopt.benchmarks.cache.measure import Measured, Run
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.peers import PEERS
from ragopt.benchmarks.cache.plots import curves
from ragopt.benchmarks.cache.policies import OWN, Candidate
from ragopt.benchmarks.cache.scoring import Scored, rows_of, score
from ragopt.benchmarks.cache.services import Services, scratch
from ragopt.benchmarks.cache.stream import repeats
from ragopt.benchmarks.cache.verifying import verifier_of
from ragopt.benchmarks.common import about, chosen, silent
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.corpus import Progress

if TYPE_CHECKING:
    from ragopt.benchmarks.datasets.types import IntentSet, PairSet, QueryLog
    from ragopt.embed import Embedder

__all__ = ["CANDIDATES", "bench_cache"]

CANDIDATES: tuple[Candidate, ...] = (*OWN, *PEERS)


def bench_cache(
    dataset: PairSet | IntentSet | QueryLog,
    *,
    options: CacheBenchOptions | None = None,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
    candidates: Sequence[Candidate] = CANDIDATES,
) -> BenchResult:
    """Measure caches on one dataset, each behind its own interface and with the same vectors.

    Labelled pairs give all figures; intents and query logs have no pairs, and of a log nobody
    knows which hits are wrong. Rows of these figures are then left out, and ``details`` says so.

    Args:
        dataset: labelled pairs, intents or a query log.
        options: how much, of whom.
        embedder: for texts without stored vectors; a latent semantic analysis of a part of the
            data that nothing is measured on, when None.
        progress: called with what is being done, how much is done, and of how much.
        candidates: policies that may be chosen from.

    Raises:
        InputError: an unknown candidate, another kind of dataset, or one too small.
    """
    wanted = options or CacheBenchOptions()
    names = chosen(wanted.only, (each.name for each in candidates))
    tell = progress or silent
    tell("vectors", 0, 1)
    material = prepare(dataset, wanted, embedder)
    tell("vectors", 1, 1)
    with Services() as services, scratch(timed=True) as folder:
        pool = _pool(material, wanted, folder, tell) if "latency" in wanted.protocols else None
        run = Run(
            material=material,
            options=wanted,
            services=services,
            pool=pool,
            verifier=functools.cache(lambda: verifier_of(material, seed=wanted.seed)),
            tell=tell,
        )
        measured = [run.measure(each) for each in candidates if each.name in names]
    return _result(dataset, wanted, material, measured, pool)


def _pool(
    material: Material, options: CacheBenchOptions, folder: Path, progress: Progress
) -> latency.Pool:
    return latency.make_pool(
        material.table, options.sizes, options.samples, folder, progress, seed=options.seed
    )


def _result(
    dataset: PairSet | IntentSet | QueryLog,
    options: CacheBenchOptions,
    material: Material,
    measured: Sequence[Measured],
    pool: latency.Pool | None,
) -> BenchResult:
    scored = [score(each, material, options) for each in measured]
    rows: list[Row] = []
    for each in scored:
        rows += rows_of(each, options)
    return BenchResult(
        bench="cache",
        rows=tuple(rows),
        about=about(
            bench="cache",
            dataset=dataset.name,
            data_hash=dataset.data_hash,
            seed=options.seed,
            quick=options.quick,
            embedder=material.table.id,
            versions=_versions(measured),
        ),
        details=_details(material, options, scored, pool),
    )


def _details(
    material: Material,
    options: CacheBenchOptions,
    scored: Sequence[Scored],
    pool: latency.Pool | None,
) -> dict[str, Any]:
    stream = material.stream
    return {
        "curves": curves(scored),
        "options": {name: getattr(options, name) for name in CacheBenchOptions.__slots__},
        "material": dict(material.notes),
        "notes": _said(material),
        "stream": {
            "about": stream.about,
            "requests": len(stream.texts),
            "repeats": repeats(stream, material.table, options.stream_thresholds),
        },
        "latency": {"grown": pool.grown if pool else "", "excluded": "the embedder's own time"},
        "policies": {each.name: each.to_dict() for each in scored},
        "decisions": _decisions(material, scored),
    }


def _said(material: Material) -> list[str]:
    """What was asked, for people."""
    told = [material.stream.about] if material.stream.texts else []
    if material.pairs:
        same = sum(pair.same for pair in material.pairs)
        told.insert(
            0,
            f"pairs: {len(material.pairs):,}, {same:,} of one meaning; thresholds chosen on one "
            "half, figures from the other"
            + (f"; {about}" if (about := material.notes.get("about")) else ""),
        )
    return told


def _decisions(material: Material, scored: Sequence[Scored]) -> dict[str, Any]:
    """Everything that the figures were counted from; see `ragopt.benchmarks.cache.recheck`."""
    same = np.array([pair.same for pair in material.pairs], dtype=np.int32)
    groups = material.stream.groups
    return {
        "same": pack(same),
        "fit": pack(material.split.fit if material.split else np.empty(0)),
        "groups": None if groups is None else pack(groups),
        "policies": {each.name: each.decisions() for each in scored},
    }


def _versions(measured: Sequence[Measured]) -> dict[str, str]:
    names = {name for each in measured for name in each.candidate.distributions}
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
