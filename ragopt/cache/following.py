"""The vectors of every scope in memory, following what any process stores in the file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

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
_CHUNK = 1 << 15  # rows read and taken in at once


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
        rows = self._store.vectors(key, mine.last_id)
        while some := list(islice(rows, _CHUNK)):
            ids, vectors = self._decoded(some)
            if len(ids):
                mine.vectors.add(ids, vectors)
            mine.last_id = some[-1][0]

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

    def _decoded(self, rows: list[tuple[int, Any]]) -> tuple[list[int], NDArray[np.float32]]:
        """Ids and vectors of the rows whose blob is one; those of another blob are reported."""
        size = self._dim * VECTOR_DTYPE.itemsize
        shaped = [row for row in rows if isinstance(row[1], bytes) and len(row[1]) == size]
        joined = np.frombuffer(b"".join([blob for _, blob in shaped]), dtype=VECTOR_DTYPE)
        vectors = joined.reshape(-1, self._dim).astype(np.float32, copy=False)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        sound = np.abs(lengths - 1) < _UNIT  # not where it is NaN
        ids = [row[0] for row, kept in zip(shaped, sound.tolist(), strict=True) if kept]
        for entry_id in {row[0] for row in rows if row[1] is not None}.difference(ids):
            self._damaged(entry_id)
        return ids, vectors if sound.all() else vectors[sound]
