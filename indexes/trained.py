"""Indexes that learn from rows, such as ranges, centres or codebooks, before they can hold any."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from ragopt.errors import InputError
from ragopt.indexes.base import Footprint, SearchStats
from ragopt.indexes.scoring import Metric, Positions, Vectors
from ragopt.indexes.whole import WholeIndex

__all__ = ["SQ8_MARGIN", "TrainedIndex", "check_counts", "training_of"]

SQ8_MARGIN = 0.05
"""Added to both ends of the trained range of a dimension: rows added later seldom fall outside."""


def check_counts(family: str, least: int, **values: int) -> None:
    """Refuse options that are no integers, or smaller than ``least``.

    Raises:
        InputError: names the family and the option.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{family}: {name}={value!r}, expected an integer of at least {least}")


class TrainedIndex(WholeIndex):
    """Base of families around an engine that is trained on rows.

    Until there are enough, rows wait as f32 in RAM and are scanned exactly.
    """

    def __init__(self, options: Any, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        self._engine: Any = None  # until it can be trained
        self._waiting: Vectors = np.empty((0, dim), dtype=np.float32)

    # What a family provides ---------------------------------------------------------------

    @property
    @abstractmethod
    def _enough(self) -> int:
        """Rows to wait for."""

    @abstractmethod
    def _trained(self, rows: Vectors) -> Any:
        """An engine trained on the first rows, and holding them."""

    def _encode(self, engine: Any, vectors: Vectors) -> None:
        """Add rows to an engine."""
        engine.add(vectors)

    @abstractmethod
    def _found(
        self, queries: Vectors, k: int, allowed: Positions | None, **knobs: int
    ) -> tuple[Positions, Vectors, SearchStats]:
        """What `_nearest` returns, from the engine."""

    @abstractmethod
    def _engine_bytes(self) -> dict[str, int]:
        """RAM of the engine, by part."""

    # What follows from it -----------------------------------------------------------------

    def _append(self, vectors: Vectors) -> None:
        if self._engine is not None:
            self._encode(self._engine, vectors)
            return
        rows = np.concatenate([self._waiting, vectors]) if len(self._waiting) else vectors
        if len(rows) < self._enough:
            self._waiting = np.array(rows)  # not the caller's own
            return
        self._engine = self._trained(rows)
        self._waiting = np.empty((0, self.dim), dtype=np.float32)

    def _nearest(
        self, queries: Vectors, k: int, allowed: Positions | None, **knobs: int
    ) -> tuple[Positions, Vectors, SearchStats]:
        if self._engine is not None:
            return self._found(queries, k, allowed, **knobs)
        return self._scan(queries, k, np.arange(self._rows) if allowed is None else allowed)

    def _stored(self, positions: Positions) -> Vectors:
        if self._engine is None:
            return np.asarray(self._waiting[positions], dtype=np.float32)
        return np.asarray(self._engine.reconstruct_batch(positions), dtype=np.float32)

    def _footprint(self) -> Footprint:
        if self._engine is None:
            return Footprint.of(ram={"waiting rows": self._waiting.nbytes})
        return Footprint.of(ram=self._engine_bytes())

    def _training_part(self) -> dict[str, Any]:
        """Seed and number of rows: training goes the same way after opening as before."""
        return {"training": np.array([self.seed, self._rows], dtype="<i8")}

    def _waiting_parts(self) -> dict[str, Any]:
        return {"rows": self._waiting, **self._training_part()}

    def _restore_waiting(self, rows: Path) -> None:
        self._waiting = np.fromfile(rows, dtype="<f4").reshape(-1, self.dim)


def training_of(part: Path) -> tuple[int, int]:
    """Seed and number of rows, as saved by `TrainedIndex`."""
    seed, rows = np.fromfile(part, dtype="<i8").tolist()
    return seed, rows
