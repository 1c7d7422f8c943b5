"""A vector set grown to a stated size for the index bench, its queries held out before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.benchmarks.common import silent
from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.benchmarks.index.split import OWN_QUERIES_FROM
from ragopt.benchmarks.workloads.growth import GrowthOptions, grow
from ragopt.corpus import Progress
from ragopt.quality import data_hash
from ragopt.storage import atomic_write, storage_errors, writer_lock

__all__ = ["grown"]

_HELD_OUT = 1_500


def grown(
    vectors: VectorSet,
    rows: int,
    *,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[VectorSet, dict[str, Any]]:
    """A larger set from a real one, and how far its neighbourhoods are from the real ones.

    Queries are real rows taken out before anything grows (the set's own where it has enough): a
    query that new rows were drawn towards would find them too easily. The grown file is kept in
    the folder and used again by later runs with the same data, size and seed.

    Args:
        vectors: the real set.
        rows: of the grown one, queries not counted.
        folder: for the grown file, 2 * dim bytes a row.
        seed: of queries and growth.
        progress: told of the growth.

    Raises:
        InputError: fewer rows than the set has.
        StorageError: the folder takes no file of that size.
    """
    from ragopt.report.serialise import plain

    source = _held_out(vectors, seed)
    options = GrowthOptions(seed=seed, dtype="float16")
    key = data_hash(vectors.data_hash or vectors.name, repr((rows, options)))
    place = folder / f"grown-{key}.npy"
    about = place.with_suffix(".json")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(folder / f"grown-{key}"):
        if not (place.exists() and about.exists()):
            report = grow(source.vectors, rows, place, options=options, progress=progress or silent)
            content = {key: value for key, value in plain(report).items() if key != "path"}
            atomic_write(about, json.dumps(content).encode())
    described: dict[str, Any] = json.loads(about.read_text("utf-8"))
    larger = replace(
        source,
        name=f"{vectors.name} grown to {rows:,}",
        vectors=np.load(place, mmap_mode="r"),
        texts=None,
        data_hash=key,
    )
    return larger, described


def _held_out(vectors: VectorSet, seed: int) -> VectorSet:
    if vectors.queries is not None and len(vectors.queries) >= OWN_QUERIES_FROM:
        return vectors
    order = np.random.default_rng(seed).permutation(len(vectors.vectors))
    count = min(_HELD_OUT, len(order) // 4)
    return replace(
        vectors,
        vectors=vectors.vectors[np.sort(order[count:])],
        queries=np.asarray(vectors.vectors[order[:count]], dtype=np.float32),
    )
