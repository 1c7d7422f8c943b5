"""The cache bench: hits and wrong hits of every policy, and what a look-up costs."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragopt.benchmarks.cache import latency
from ragopt.benchmarks.cache.bill import question_tokens, unit_costs
from ragopt.benchmarks.cache.certifying import calibrated_on
from ragopt.benchmarks.cache.figures import pack
from ragopt.benchmarks.cache.guarding import guard_decisions, guard_rows
from ragopt.benchmarks.cache.material import Material, prepare
from ragopt.benchmarks.cache.measure import Measured, Run
from ragopt.benchmarks.cache.options import CacheBenchOptions
from ragopt.benchmarks.cache.peers import PEERS
from ragopt.benchmarks.cache.plots import curves
from ragopt.benchmarks.cache.policies import OWN, Candidate
from ragopt.benchmarks.cache.said import notes_of
from ragopt.benchmarks.cache.scoring import Scored, rows_of, score
from ragopt.benchmarks.cache.services import Services, scratch
from ragopt.benchmarks.cache.stream import repeats, words_of
from ragopt.benchmarks.cache.stream_rows import Ground
from ragopt.benchmarks.cache.verifying import verifier_of
from ragopt.benchmarks.common import about, chosen, silent
from ragopt.benchmarks.rows import BenchResult, Row
from ragopt.cache.policies import Calibrated
from ragopt.corpus import Progress

if TYPE_CHECKING:
    from ragopt.benchmarks.datasets.types import IntentSet, PairSet, QueryLog
    from ragopt.embed import Embedder

__all__ = ["CANDIDATES", "bench_cache"]

CANDIDATES: tuple[Candidate, ...] = (*OWN, *PEERS)
_GUARDS = "guards"


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
    ``guards`` can be chosen like a candidate: traps that they stop, duplicates that they lose.

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
    names = chosen(wanted.only, (*(each.name for each in candidates), _GUARDS))
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
            calibrated=functools.partial(_calibrated, material, wanted, tell),
            tell=tell,
        )
        measured = [run.measure(each) for each in candidates if each.name in names]
    guards = None
    if _GUARDS in wanted.protocols and _GUARDS in names:
        guards = guard_decisions(
            material, wanted.traps, seed=wanted.seed, progress=functools.partial(tell, _GUARDS)
        )
    return _result(dataset, wanted, material, _Found(measured, pool, guards))


@dataclass(frozen=True, slots=True)
class _Found:
    """What a run has measured."""

    measured: Sequence[Measured]
    pool: latency.Pool | None
    guards: dict[str, Any] | None


def _calibrated(
    material: Material,
    options: CacheBenchOptions,
    tell: Progress,
    max_error: float,
    verify: bool,
) -> Calibrated:
    task = f"certify {max_error:.0%} wrong hits"
    tell(task, 0, 1)
    policy = calibrated_on(material, max_error, verify=verify, seed=options.seed)
    tell(task, 1, 1)
    return policy


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
    found: _Found,
) -> BenchResult:
    texts = material.stream.texts
    costs, prices = unit_costs(
        options.bill,
        dim=material.table.dim,
        question_bytes=sum(len(text.encode()) for text in texts) / max(1, len(texts)),
    )
    ground = Ground(
        groups=material.stream.groups,
        words=words_of(texts),
        tokens=question_tokens(texts, options.bill),
        costs=costs,
        prices=prices,
    )
    scored = [score(each, material, options, ground) for each in found.measured]
    rows: list[Row] = []
    for each in scored:
        rows += rows_of(each, options)
    details = _details(material, options, scored, found.pool, ground)
    if found.guards is not None:
        rows += guard_rows(found.guards)
        details["decisions"]["guards"] = found.guards
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
            versions=_versions(found.measured),
            price=prices["prices"][0],
            prices={"ids": prices["prices"], "hash": prices["hash"]},
        ),
        details=details,
    )


def _details(
    material: Material,
    options: CacheBenchOptions,
    scored: Sequence[Scored],
    pool: latency.Pool | None,
    ground: Ground,
) -> dict[str, Any]:
    stream = material.stream
    repeated = repeats(stream, material.table, options.stream_thresholds)
    return {
        "curves": curves(scored),
        "options": {name: getattr(options, name) for name in CacheBenchOptions.__slots__},
        "material": dict(material.notes),
        "notes": notes_of(material, scored, ground, options.bill, repeated["exact"]),
        "bill": {**ground.prices, "usd": ground.costs.to_dict()},
        "stream": {
            "about": stream.about,
            "requests": len(stream.texts),
            "repeats": repeated,
        },
        "latency": {"grown": pool.grown if pool else "", "excluded": "the embedder's own time"},
        "policies": {each.name: each.to_dict() for each in scored},
        "decisions": _decisions(material, scored, ground),
    }


def _decisions(material: Material, scored: Sequence[Scored], ground: Ground) -> dict[str, Any]:
    """Everything that the figures were counted from; see `ragopt.benchmarks.cache.recheck`."""
    same = np.array([pair.same for pair in material.pairs], dtype=np.int32)
    groups = ground.groups
    return {
        "same": pack(same),
        "fit": pack(material.split.fit if material.split else np.empty(0)),
        "groups": None if groups is None else pack(groups),
        "words": pack(ground.words),
        "tokens": pack(ground.tokens),
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
