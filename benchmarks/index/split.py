"""Base, tuning queries and report queries of a vector set: three parts without overlap."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragopt.benchmarks.datasets.types import VectorSet
from ragopt.errors import InputError
from ragopt.indexes.checks import check_vectors
from ragopt.indexes.scoring import Positions, Vectors, unit_length
from ragopt.quality import data_hash

__all__ = ["Split", "check_apart", "rows_hash", "split_queries"]

OWN_QUERIES_FROM = 200
"""A set with fewer queries of its own has some of its rows held out instead."""
FEWEST = 20
_SAME = 1 - 1e-6  # cosine beyond which two vectors are taken for one
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """What is indexed, what is tuned on and what is reported on; unit rows throughout.

    Args:
        base: (n, dim) float32, possibly a read-only memory map.
        tuning: (nt, dim) float32.
        report: (nr, dim) float32.
        source: where the queries come from.
        left_out: queries not used because another one is (nearly) the same vector.
        twins_in_base: queries that (nearly) equal some row of the base.
        base_hash: of ``base``, likewise the next two.
        seed: of the draw.
    """

    base: Vectors
    tuning: Vectors
    report: Vectors
    source: Literal["own queries", "held-out rows"]
    left_out: int
    twins_in_base: int
    base_hash: str
    tuning_hash: str
    report_hash: str
    seed: int

    def describe(self) -> dict[str, Any]:
        """Sizes, origin and hashes, for a result."""
        return {
            "source": self.source,
            "base_rows": len(self.base),
            "dim": int(self.base.shape[1]),
            "tuning_queries": len(self.tuning),
            "report_queries": len(self.report),
            "queries_left_out_as_duplicates": self.left_out,
            "queries_equal_to_a_base_row": self.twins_in_base,
            "base_hash": self.base_hash,
            "tuning_hash": self.tuning_hash,
            "report_hash": self.report_hash,
            "seed": self.seed,
        }


def split_queries(
    vectors: VectorSet,
    *,
    seed: int = 0,
    tuning: int = 500,
    report: int = 1_000,
    base_rows: int | None = None,
    into: Path | None = None,
) -> Split:
    """Divide a vector set.

    Queries are the set's own where it has 200 or more, otherwise rows held out of it. Of vectors
    that are (nearly) the same, one at most becomes a query, so that no report query was tuned on
    or has been asked before. All rows are scaled to length one: inner product is cosine.

    Args:
        vectors: the set.
        seed: of the draw.
        tuning: queries to tune on; where the set is small (rows: half of it; own queries: all)
            both parts shrink alike.
        report: queries to report on.
        base_rows: largest number of rows to index, drawn at random; None for all.
        into: ``.npy`` file for the base, which is then a memory map of it; in memory otherwise.

    Raises:
        InputError: unusable vectors, or too few for 20 queries in each part.
    """
    _check_set(vectors)
    rng = np.random.default_rng(seed)
    own = vectors.queries is not None and len(vectors.queries) >= OWN_QUERIES_FROM
    pool = vectors.queries if own and vectors.queries is not None else vectors.vectors
    tuning, report = _sizes(len(pool) if own else len(pool) // 2, tuning, report)
    order = rng.permutation(len(pool))
    chosen, left_out = _distinct(pool, order, tuning + report)
    if len(chosen) < tuning + report:
        tuning, report = _sizes(len(chosen), tuning, report)
        chosen = chosen[: tuning + report]
    queries = _unit("queries", pool[chosen])
    kept = np.arange(len(vectors.vectors))
    if not own:
        kept = np.delete(kept, chosen)
    if base_rows is not None and base_rows < len(kept):
        kept = np.sort(rng.choice(kept, size=base_rows, replace=False))
    base = _gather(vectors.vectors, kept, into)
    split = Split(
        base=base,
        tuning=queries[:tuning],
        report=queries[tuning:],
        source="own queries" if own else "held-out rows",
        left_out=left_out,
        twins_in_base=_twins(queries, base),
        base_hash=rows_hash(base),
        tuning_hash=data_hash(queries[:tuning]),
        report_hash=data_hash(queries[tuning:]),
        seed=seed,
    )
    check_apart(split)
    return split


def check_apart(split: Split) -> None:
    """Refuse to report on what was tuned on.

    Raises:
        InputError: the parts are one, a vector is in both, or a part is not the one hashed.
    """
    if split.tuning_hash == split.report_hash:
        raise InputError("tuning and report queries are the same; expected two parts")
    for part in ("tuning", "report"):
        if data_hash(getattr(split, part)) != getattr(split, f"{part}_hash"):
            raise InputError(f"the {part} queries are not those that their hash names")
    shared = np.flatnonzero((split.report @ split.tuning.T > _SAME).any(axis=1))
    if len(shared):
        raise InputError(
            f"{len(shared)} report queries were tuned on too, the first is number {shared[0]}; "
            "expected different queries for the two"
        )


def rows_hash(rows: NDArray[Any]) -> str:
    """Short SHA-256 of rows, read block by block: they may be larger than memory."""
    digest = hashlib.sha256(str((rows.dtype.str, rows.shape)).encode())
    for start, stop in _blocks(len(rows), rows.shape[1]):
        digest.update(np.ascontiguousarray(rows[start:stop]).data)
    return digest.hexdigest()[:16]


def _check_set(vectors: VectorSet) -> None:
    for name, rows in (("vectors", vectors.vectors), ("queries", vectors.queries)):
        if rows is not None and rows.ndim != 2:
            raise InputError(f"{vectors.name}: {name} of shape {rows.shape}, expected (n, dim)")
    if vectors.queries is not None and vectors.queries.shape[1] != vectors.vectors.shape[1]:
        raise InputError(
            f"{vectors.name}: queries of {vectors.queries.shape[1]} dimensions for vectors of "
            f"{vectors.vectors.shape[1]}; expected the same model for both"
        )


def _sizes(available: int, tuning: int, report: int) -> tuple[int, int]:
    if tuning + report <= available:
        return tuning, report
    smaller = available * tuning // (tuning + report), available * report // (tuning + report)
    if min(smaller) < FEWEST:
        raise InputError(
            f"{available} distinct vectors can serve as queries; expected at least "
            f"{FEWEST} to tune on and {FEWEST} to report on"
        )
    return smaller


def _distinct(pool: NDArray[Any], order: Positions, wanted: int) -> tuple[Positions, int]:
    """The first positions in this order that are not the same vector as one before."""
    kept = np.empty((wanted, pool.shape[1]), dtype=np.float32)
    positions: list[int] = []
    left_out = 0
    step = 256
    for start in range(0, len(order), step):
        block = order[start : start + step]
        rows = _unit("queries", pool[block])
        earlier = (rows @ kept[: len(positions)].T > _SAME).any(axis=1)
        within = np.tril(rows @ rows.T > _SAME, -1).any(axis=1)
        for place, row, same in zip(block, rows, earlier | within, strict=True):
            if len(positions) == wanted:
                return np.array(positions, dtype=np.int64), left_out
            if same:
                left_out += 1
                continue
            kept[len(positions)] = row
            positions.append(int(place))
    return np.array(positions, dtype=np.int64), left_out


def _gather(vectors: NDArray[Any], positions: Positions, into: Path | None) -> Vectors:
    """Unit rows at these positions."""
    shape = (len(positions), int(vectors.shape[1]))
    base: Vectors
    if into is None:
        base = np.empty(shape, dtype=np.float32)
    else:
        base = np.lib.format.open_memmap(into, mode="w+", dtype=np.float32, shape=shape)
    for start, stop in _blocks(*shape):
        base[start:stop] = _unit("vectors", vectors[positions[start:stop]])
    if into is None:
        base.flags.writeable = False
        return base
    del base  # written out
    mapped: Vectors = np.load(into, mmap_mode="r")
    return mapped


def _twins(queries: Vectors, base: Vectors) -> int:
    found = np.zeros(len(queries), dtype=bool)
    for start, stop in _blocks(len(base), max(base.shape[1], len(queries))):
        found |= (queries @ base[start:stop].T > _SAME).any(axis=1)
    return int(found.sum())


def _unit(name: str, rows: NDArray[Any]) -> Vectors:
    return unit_length(check_vectors(name, rows))


def _blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK_BYTES // (4 * max(1, columns)))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
