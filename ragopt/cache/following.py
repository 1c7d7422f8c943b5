"""The vectors of every scope in memory, following what any process stores in the file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragopt.cache.stores import EntryStore
from ragopt.cache.vectors import VectorStore

__all__ = ["VECTOR_DTYPE", "FollowedVectors"]

VECTOR_DTYPE = np.dtype("<f4")
"""Of vectors as they are stored."""

_UNIT = 1e-3  # how far from 1 the length of a stored vector may be
_MOST_SCOPES = 1024  # with vectors in memory; the least recently used are read again when needed
_STALE_SHARE = 0.1  # of a scope's vectors removed elsewhere, before they are looked through
_CHUNK = 1024  # rows taken into memory at once


@dataclass(slots=True)
class _Scope:
    """The vectors of one scope in memory, and how far they follow the file."""

    vectors: VectorStore
    state: tuple[int, int] | None = None
    last_id: int = 0
    removals: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class FollowedVectors:
    """Vectors by scope, brought up to date when they are asked for.

    Args:
        store: where entries and their vectors stand.
        dim: length of a vector.
        make: makes the index of a scope.
        damaged: told the id of an entry whose vector is none.
    """

    def __init__(
        self,
        store: EntryStore,
        dim: int,
        make: Callable[[int], VectorStore],
        damaged: Callable[[int], object],
    ) -> None:
        self._store = store
        self._dim = dim
        self._make = make
        self._damaged = damaged
        self._scopes: OrderedDict[bytes, _Scope] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        with self._lock:
            stores = [scope.vectors for scope in self._scopes.values()]
        return sum(int(getattr(each, "nbytes", 0)) for each in stores)

    def of(self, key: bytes) -> VectorStore:
        """The vectors of a scope, brought up to what any process has stored."""
        mine = self._of_scope(key)
        state = self._store.state()
        if mine.state == state:
            return mine.vectors
        with mine.lock:
            # the state was read first: what comes in meanwhile is read now or next time, never lost
            self._take_in(key, mine)
            self._drop_removed(key, mine)
            mine.state = state
        return mine.vectors

    def forget(self, key: bytes, ids: Iterable[int]) -> None:
        """Drop entries that turned out to be gone, so that the next candidates come up."""
        mine = self._of_scope(key)
        with mine.lock:
            mine.vectors.remove(ids)

    def _of_scope(self, key: bytes) -> _Scope:
        with self._lock:
            mine = self._scopes.get(key)
            if mine is None:
                mine = _Scope(self._make(self._dim))
                self._scopes[key] = mine
                if len(self._scopes) > _MOST_SCOPES:
                    self._scopes.popitem(last=False)
            self._scopes.move_to_end(key)
            return mine

    def _take_in(self, key: bytes, mine: _Scope) -> None:
        seen, ids, rows = mine.last_id, [], []
        for entry_id, blob in self._store.vectors(key, mine.last_id):
            seen = entry_id
            row = self._decoded(blob)
            if row is not None:
                ids.append(entry_id)
                rows.append(row)
            elif blob is not None:
                self._damaged(entry_id)
            if len(ids) == _CHUNK:
                mine.vectors.add(ids, np.stack(rows))
                mine.last_id, ids, rows = seen, [], []
        if ids:
            mine.vectors.add(ids, np.stack(rows))
        mine.last_id = seen

    def _drop_removed(self, key: bytes, mine: _Scope) -> None:
        """Give back the memory of entries removed elsewhere, once there may be many."""
        _, removals = self._store.totals()
        if removals - mine.removals <= _STALE_SHARE * len(mine.vectors):
            return
        known = mine.vectors.ids()
        mine.vectors.remove(
            np.setdiff1d(known, np.asarray(self._store.ids(key), np.int64)).tolist()
        )
        mine.removals = removals

    def _decoded(self, blob: object) -> NDArray[np.float32] | None:
        if not isinstance(blob, bytes) or len(blob) != self._dim * VECTOR_DTYPE.itemsize:
            return None
        row = np.frombuffer(blob, dtype=VECTOR_DTYPE).astype(np.float32)
        length = float(np.linalg.norm(row.astype(np.float64)))
        return row if abs(length - 1) < _UNIT else None  # also where it is NaN
