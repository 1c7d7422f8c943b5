"""The index bench: every candidate built, swept, certified and timed on one split of the data."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.common import about, silent
from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.candidates import Candidate, candidates
from ragopt.benchmarks.index.curves import curves
from ragopt.benchmarks.index.figures import rows_of
from ragopt.benchmarks.index.measuring import PHASES, Measuring
from ragopt.benchmarks.index.operating import equal_recalls
from ragopt.benchmarks.index.options import IndexBenchOptions
from ragopt.benchmarks.index.place import place_of, sweep
from ragopt.benchmarks.index.rederive import recheck
from ragopt.benchmarks.index.split import Split, split_queries
from ragopt.benchmarks.index.truth import Truth
from ragopt.benchmarks.rows import BenchResult
from ragopt.corpus import Progress
from ragopt.errors import RagoptError
from ragopt.quality import data_hash
from ragopt.storage import storage_errors, writer_lock

__all__ = ["bench_index"]


def bench_index(
    vectors: VectorSet,
    *,
    options: IndexBenchOptions | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure vector indexes side by side, each in processes of its own, one after the other.

    The cheapest knob value whose recall is certified is reported, for each candidate; figures
    are taken on queries that nothing was tuned on, and from the ids that a candidate returned. A
    candidate that crashes, hangs or is not installed is a row with its reason. A run that was cut
    short goes on where it stopped when it is started again within a day.

    Args:
        vectors: the data.
        options: of the run.
        progress: called with what is being done, how much is done, and of how much.

    Raises:
        InputError: an unknown candidate, or a set too small to be split.
        StoreBusy: another run on the same data is at work in the same folder.
        StorageError: the work folder cannot be written.
    """
    options = options or IndexBenchOptions()
    chosen = candidates(options.only)
    order = np.random.default_rng(options.seed).permutation(len(chosen))
    budget = options.budget
    root = options.work_folder / f"index-{_key(vectors, options)}"
    progress = progress or silent
    progress("split, device, exact answers", 0, len(chosen) * len(PHASES))
    with writer_lock(root), _base_file(root) as into:
        sweep(options.work_folder)
        split = split_queries(
            vectors,
            seed=options.seed,
            tuning=budget.tuning,
            report=budget.report,
            base_rows=budget.base_rows,
            into=into,
        )
        _unname(into)
        device = _device(root, quick=options.quick)
        tuning, report = Truth.of(split, options.k)
        measuring = Measuring(split=split, tuning=tuning, report=report, options=options)
        shuffled = _measured([chosen[place] for place in order], measuring, root, progress)
        measured = [shuffled[place] for place in np.argsort(order)]
        details = _details(measured, split, options, device)
    details["curves"] = curves(details)
    result = BenchResult(
        bench="index",
        rows=tuple(rows_of(details)),
        about=about(
            bench="index",
            dataset=vectors.name,
            data_hash=vectors.data_hash or split.base_hash,
            seed=options.seed,
            quick=options.quick,
            versions={one.package: one.version for one in chosen if one.package},
            resumed=[one["facts"]["family"] for one in measured if one["facts"]["resumed"]],
        ),
        details=details,
    )
    if wrong := recheck(result):
        raise RagoptError(f"the figures do not follow from their own points: {wrong[0]}")
    return result


def _measured(
    chosen: Sequence[Candidate], measuring: Measuring, root: Path, progress: Progress
) -> list[dict[str, Any]]:
    total = len(chosen) * len(PHASES)
    found = []
    for number, candidate in enumerate(chosen):
        place = place_of(root, candidate, measuring.split, measuring.options)

        def say(phase: str, name: str = candidate.name, before: int = number) -> None:
            done = before * len(PHASES) + PHASES.index(phase)
            progress(f"{name}: {phase}", done, total)

        found.append(measuring.candidate(candidate, place, say))
    progress("index bench", total, total)
    return found


def _details(
    measured: Sequence[dict[str, Any]],
    split: Split,
    options: IndexBenchOptions,
    device: dict[str, Any],
) -> dict[str, Any]:
    points = [point for one in measured for point in one["points"]]
    families = [one["facts"]["family"] for one in measured]
    return {
        "split": split.describe(),
        "options": {
            "k": options.k,
            "recall": options.recall,
            "confidence": options.confidence,
            "passes": options.passes,
            "threads": options.all_threads,
            "seed": options.seed,
            "quick": options.quick,
            "memory_limit": options.memory_limit,
            "budget": asdict(options.budget),
        },
        "device": device,
        "candidates": [one["facts"] for one in measured],
        "points": points,
        "at_equal_recall": equal_recalls(points, families),
    }


def _device(folder: Path, *, quick: bool) -> dict[str, Any]:
    from ragopt.benchmarks.measure.device import probe

    try:
        found = probe(folder, seconds=0.1 if quick else 1.0, size=(16 if quick else 256) << 20)
    except (RagoptError, OSError) as error:
        return {"reason": str(error)}
    return {key: value for key, value in asdict(found).items() if key != "folder"}


def _key(vectors: VectorSet, options: IndexBenchOptions) -> str:
    known = vectors.data_hash or vectors.name
    return data_hash(f"{known} {vectors.vectors.shape} {options.seed} {options.budget}")


@contextlib.contextmanager
def _base_file(root: Path) -> Iterator[Path]:
    path = root / f".base-{secrets.token_hex(4)}.npy"
    with storage_errors(root):
        for left in root.glob(".base-*.npy"):  # of a run that was killed
            left.unlink()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _unname(path: Path) -> None:
    """The base stays mapped here, and no candidate can find or change it."""
    with contextlib.suppress(OSError):  # Windows: removed at the end instead
        path.unlink(missing_ok=True)
