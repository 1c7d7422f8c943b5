"""Inverted lists: rows grouped around centres, and a query looks into the nearest groups only.

Sivic and Zisserman (2003), "Video Google"; Douze et al. (2024), "The Faiss library", section 5.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import SearchStats
from ragopt.indexes.faiss_io import (
    faiss,
    from_bytes,
    metric_of,
    selector,
    similarity,
    threads_for,
    to_bytes,
)
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors
from ragopt.indexes.trained import SQ8_MARGIN, TrainedIndex, check_counts, training_of

__all__ = ["InvertedIndex", "IvfIndex", "IvfOptions", "list_count"]

NPROBE_GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

_ROWS_A_LIST = 39  # fewer, and k-means has too little to go by (faiss's own limit)
_TRAINED_ROWS_A_LIST = 64  # k-means hardly gains from more, and its cost grows with them
_TRAINED_ROWS = 1 << 16  # for ranges and codebooks
_OUTGROWN = 4
_BLOCK_ROWS = 1 << 16


def list_count(rows: int, lists: int = 0) -> int:
    """Lists for so many rows: ``lists``, by default 4 sqrt(rows), at most one for 39 rows."""
    return max(1, min(lists or int(4 * rows**0.5), rows // _ROWS_A_LIST))


class InvertedIndex(TrainedIndex):
    """What families over inverted lists share: when to train, on what, and where to look.

    The options have ``lists``, ``nprobe`` and ``train_rows``.
    """

    knobs: ClassVar = {"nprobe": NPROBE_GRID}

    @abstractmethod
    def _learned(self, sample: Vectors, lists: int) -> Any:
        """An engine trained on ``sample``, without rows."""

    @property
    def _enough(self) -> int:
        return int(self.options.train_rows)

    def _append(self, vectors: Vectors) -> None:
        super()._append(vectors)
        total = self._rows + len(vectors)
        if self._engine is not None and self._outgrown(total):
            self._engine = self._filled(total, self._stored)

    def _outgrown(self, total: int) -> bool:
        lists, wanted = int(self._engine.nlist), list_count(total, self.options.lists)
        return wanted >= _OUTGROWN * lists or lists < wanted == int(self.options.lists)

    def _trained(self, rows: Vectors) -> Any:
        return self._filled(len(rows), rows.__getitem__)

    def _filled(self, total: int, rows_at: Callable[[Positions], Vectors]) -> Any:
        lists = list_count(total, self.options.lists)
        wanted = min(total, max(_TRAINED_ROWS, lists * _TRAINED_ROWS_A_LIST))
        drawn = np.random.default_rng(self.seed).permutation(total)[:wanted]
        engine = self._learned(rows_at(np.sort(drawn)), lists)
        for start in range(0, total, _BLOCK_ROWS):
            self._encode(engine, rows_at(np.arange(start, min(start + _BLOCK_ROWS, total))))
        return engine

    def _prepare(self, engine: Any) -> None:
        """Seed and size the k-means of the centres."""
        engine.cp.seed = self.seed
        engine.cp.max_points_per_centroid = _TRAINED_ROWS_A_LIST
        engine.cp.min_points_per_centroid = 1

    def _probe(
        self,
        queries: Vectors,
        breadth: int,
        k: int,
        allowed: Positions | None,
        nprobe: int | None,
    ) -> tuple[Positions, Vectors, int]:
        """Positions and distances (nq, breadth), codes scanned.

        A query whose lists hold fewer than ``k`` is asked of all lists.
        """
        lists, probes = self._engine.nlist, nprobe or self.options.nprobe
        if allowed is not None:
            probes = probes * self._rows // len(allowed)
        stats = faiss().cvar.indexIVF_stats  # one for the process: searches side by side share it
        stats.reset()
        with selector(allowed, self._rows) as chosen, threads_for(len(queries)):
            few = faiss().SearchParametersIVF(nprobe=min(probes, lists), sel=chosen)
            distances, positions = self._engine.search(queries, breadth, params=few)
            short = np.flatnonzero(positions[:, k - 1] == MISSING)
            if len(short) and probes < lists:
                every = faiss().SearchParametersIVF(nprobe=lists, sel=chosen)
                again = self._engine.search(queries[short], breadth, params=every)
                distances[short], positions[short] = again
        return positions.astype(np.int64), distances, int(stats.ndis)

    def _lists_bytes(self) -> dict[str, int]:
        """Of centres and list entries, a position of 8 bytes beside each code."""
        engine = self._engine
        return {
            "codes": engine.code_size * engine.ntotal,
            "positions": 8 * engine.ntotal,
            "centres": engine.nlist * (4 * engine.d + _LIST_BYTES),
        }


_LIST_BYTES = 160  # two arrays' headers and what their allocation rounds up to


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfOptions:
    """Options of ``ivf``.

    Args:
        lists: how many; 0 for 4 sqrt(n), drawn anew whenever rows have come to need four times as
            many. Never more than one for 39 rows.
        rows: precision of the rows in the lists; ``"sq8"`` is 8 bits a dimension, and the only
            one; in a spec also ``+sq8``.
        nprobe: lists looked into when neither the call nor tuning says otherwise.
        train_rows: rows to wait for before training; so few are scanned exactly, as f32 in RAM.
    """

    lists: int = 0
    rows: Literal["sq8"] = "sq8"
    nprobe: int = 64
    train_rows: int = 1000

    def __post_init__(self) -> None:
        check_counts("ivf", 0, lists=self.lists)
        check_counts("ivf", 1, nprobe=self.nprobe, train_rows=self.train_rows)
        if self.rows != "sq8":
            raise InputError(f"ivf: rows={self.rows!r}, expected 'sq8'")


class IvfIndex(InvertedIndex):
    """O(n nprobe / lists) a query; RAM of dim + 16 bytes a vector, and the centres.

    The ranges of 8-bit rows come from the first ``train_rows`` rows or, where an `add` brings
    more, from all of those: add a representative part first.
    """

    family = "ivf"
    options_type = IvfOptions

    def _learned(self, sample: Vectors, lists: int) -> Any:
        measure = metric_of(self.metric)
        centres = faiss().IndexFlat(self.dim, measure)
        # Codes of rows, not of what a centre leaves of them: as near, scanned a sixth faster, and
        # moving them to other lists changes none.
        engine = faiss().IndexIVFScalarQuantizer(
            centres, self.dim, lists, faiss().ScalarQuantizer.QT_8bit, measure, False
        )
        self._prepare(engine)
        engine.sq.rangestat_arg = SQ8_MARGIN
        engine.train(sample)
        if self._engine is not None:
            ranges = faiss().vector_to_array(self._engine.sq.trained)
            faiss().copy_array_to_vector(ranges, engine.sq.trained)
        engine.make_direct_map(True)  # from a position to its list, for filters and truths
        return engine

    def _found(
        self,
        queries: Vectors,
        k: int,
        allowed: Positions | None,
        *,
        nprobe: int | None = None,
        **_: int,
    ) -> tuple[Positions, Vectors, SearchStats]:
        positions, distances, scanned = self._probe(queries, k, k, allowed, nprobe)
        return positions, similarity(distances, self.metric), SearchStats(codes_scanned=scanned)

    def _engine_bytes(self) -> dict[str, int]:
        kept = {"direct map": 8 * self._engine.ntotal, "ranges": 8 * self.dim}
        return {**self._lists_bytes(), **kept}

    def _parts(self) -> dict[str, Any]:
        if self._engine is None:
            return self._waiting_parts()
        return {"codes": to_bytes(self._engine), **self._training_part()}

    @classmethod
    def _load(
        cls, options: IvfOptions, dim: int, metric: Metric, parts: dict[str, Path]
    ) -> IvfIndex:
        seed, _ = training_of(parts["training"])
        index = cls(options, dim, metric, seed=seed)
        if "codes" in parts:
            index._engine = from_bytes(parts["codes"])
        else:
            index._restore_waiting(parts["rows"])
        return index
