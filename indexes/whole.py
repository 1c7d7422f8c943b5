"""Indexes that are saved as a whole, from memory: what most families are.

They keep the ids of their rows side by side; a family appends rows to its engine and says which
parts to write.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragopt.indexes.base import KIND, VERSION, PositionIndex, load_saved
from ragopt.indexes.checks import as_rows, check_vectors
from ragopt.indexes.scoring import MISSING, Metric, Positions, Vectors, unit_length
from ragopt.indexes.tombstones import Tombstones
from ragopt.storage import write_folder

__all__ = ["WholeIndex"]


class WholeIndex(PositionIndex):
    """Base of families that hold what they search in one engine."""

    def __init__(self, options: Any, dim: int, metric: Metric, *, seed: int = 0) -> None:
        super().__init__(options, dim, metric, seed=seed)
        # None stands for ids 0, 1, 2, …: the common case costs no memory.
        self._ids: NDArray[np.int64] | None = None

    # What a family provides ---------------------------------------------------------------

    @abstractmethod
    def _append(self, vectors: Vectors) -> None:
        """Add rows, already checked and, for cosine, of length one."""

    @abstractmethod
    def _parts(self) -> dict[str, Any]:
        """Binary parts to save."""

    @classmethod
    @abstractmethod
    def _load(cls, options: Any, dim: int, metric: Metric, parts: dict[str, Path]) -> WholeIndex:
        """Make the index from saved parts; ids and tombstones are restored by the caller."""

    # What follows from it -----------------------------------------------------------------

    def add(self, vectors: ArrayLike, ids: Iterable[int] | None = None) -> NDArray[np.int64]:
        rows = check_vectors("vectors", vectors, dim=self.dim)
        new = self._new_ids(ids, len(rows))
        if len(rows):
            self._append(unit_length(rows) if self.metric == "cosine" else rows)
        natural = np.array_equal(new, np.arange(self._rows, self._rows + len(rows)))
        if self._ids is not None or not natural:
            before = np.arange(self._rows) if self._ids is None else self._ids
            self._ids = np.concatenate([before, new])
        self._rows += len(rows)
        return new

    def save(self, path: Path | str) -> None:
        ids = np.empty(0, np.int64) if self._ids is None else self._ids
        write_folder(
            Path(path),
            kind=KIND,
            version=VERSION,
            about={
                **self._described(self._rows),
                "dead": self._dead.positions().tolist(),
                "natural_ids": self._ids is None,
            },
            parts={**self._parts(), "ids": ids.astype("<i8")},
        )

    @classmethod
    def create(
        cls,
        options: Any,
        vectors: ArrayLike | Iterable[ArrayLike],
        ids: Iterable[int] | None,
        *,
        path: Path,
        metric: Metric,
        seed: int,
        progress: Callable[[str, int, int], object] | None = None,  # noqa: ARG003
    ) -> PositionIndex:
        rows = as_rows(vectors)
        index = cls(options, rows.shape[1], metric, seed=seed)
        index.add(rows, ids)
        index.save(path)
        return load_saved(path, cls.restore, verify=False)

    @classmethod
    def restore(cls, about: Mapping[str, Any], parts: dict[str, Path]) -> PositionIndex:
        options = cls.options_type(**about["options"])
        index = cls._load(options, about["dim"], about["metric"], parts)
        index._rows = about["rows"]
        index._dead = Tombstones(about["dead"])
        if not about["natural_ids"]:
            index._ids = np.fromfile(parts["ids"], dtype="<i8").astype(np.int64)
        index._take_tuning(about)
        return index

    def _lookup(self, ids: Positions, *, dead_allowed: bool = False) -> Positions:
        if self._ids is None:
            positions = np.where((ids >= 0) & (ids < self._rows), ids, MISSING)
        else:
            # The latest row of an id counts: a deleted id may have been added again.
            order = np.argsort(self._ids, kind="stable")
            last = np.searchsorted(self._ids, ids, side="right", sorter=order) - 1
            positions = order[np.maximum(last, 0)]
            positions = np.where((last >= 0) & (self._ids[positions] == ids), positions, MISSING)
        if self._dead and not dead_allowed:
            positions = np.where(self._dead.among(positions), MISSING, positions)
        return positions

    def _to_ids(self, positions: Positions) -> NDArray[np.int64]:
        if self._ids is None:
            return positions
        return np.where(positions == MISSING, MISSING, self._ids[positions])

    @property
    def _id_bytes(self) -> int:
        return 0 if self._ids is None else self._ids.nbytes

    def _next_id(self) -> int:
        return self._rows if self._ids is None else int(self._ids.max(initial=-1)) + 1
